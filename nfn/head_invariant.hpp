#pragma once

#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"
#include "nfn/weight_features.hpp"

namespace attnsym {

/// An invariant layer that sees every head by itself, from d channels of weights to e numbers per checkpoint,
/// e x n. With M = Q_i K_i^T and N = V_i O_i of head i,
///
///     u_i = H1 M + H2 (row sums of N) + H3 (squared row norms of N) + H4,   m numbers, shared by all heads
///     result = G1 sum_i u_i o u_i + G2                                      (o: entry by entry)
///
/// Exactly invariant under G_U over every scalar. It tells apart what no stack of EquivariantLinear and
/// InvariantLayer can, because those see heads only in the sums of M and of N: heads whose VO parts have been
/// exchanged, and M, -M against 0, 0 [N13].
template <Scalar S>
class HeadInvariantLayer {
 public:
  using Input = WeightFeatures<S>;
  using Output = Matrix<S>;

  /// All parameters zero; `features` is m. @throws ShapeError unless all four are positive.
  HeadInvariantLayer(Index model_width, Index in_channels, Index features, Index outputs);

  /// m (d (D^2 + 2 D) + 1) + e (m + 1).
  static Index parameter_count(Index model_width, Index in_channels, Index features, Index outputs);

  Index model_width() const { return width_; }
  Index features() const { return heads_.rows(); }
  Index head_inputs() const { return heads_.cols(); }  ///< d (D^2 + 2 D) + 1
  Index outputs() const { return sums_.rows(); }

  /// H1 ... H4, G1, G2: views that live as long as the layer stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the input has D and d as stated.
  Matrix<S> operator()(const WeightFeatures<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<HeadInvariantLayer> backward(const WeightFeatures<S>& input, const Matrix<S>& cotangent) const;

 private:
  Index width_;
  Index in_channels_;
  Matrix<S> heads_;  // H1 ... H4, m x (d (D^2 + 2 D) + 1)
  Matrix<S> sums_;   // G1 and G2, e x (m + 1)
};

extern template class HeadInvariantLayer<float>;
extern template class HeadInvariantLayer<double>;
extern template class HeadInvariantLayer<Float50>;
extern template class HeadInvariantLayer<Rational>;

static_assert(DifferentiableLayer<HeadInvariantLayer<double>>);

}  // namespace attnsym
