#pragma once

#include <optional>
#include <vector>

#include "nfn/head_invariant.hpp"
#include "nfn/invariant.hpp"

namespace attnsym {

/// All that a network reads out of one block, from d channels of weights to e numbers per checkpoint: I, and
/// on request the sum of I and of a HeadInvariantLayer, which sees heads one by one [N13].
template <Scalar S>
class BlockInvariant {
 public:
  using Input = WeightFeatures<S>;
  using Output = Matrix<S>;

  /// All parameters zero; `head_features` is the m of HeadInvariantLayer, 0 for I alone. @throws ShapeError
  /// unless it is not negative and the other three are positive.
  BlockInvariant(Index model_width, Index in_channels, Index outputs, Index head_features);

  /// The sum of those of both layers.
  static Index parameter_count(Index model_width, Index in_channels, Index outputs, Index head_features);

  InvariantLayer<S>& sums() { return sums_; }
  std::optional<HeadInvariantLayer<S>>& heads() { return heads_; }

  /// F1 ... F7, then H1 ... H4, G1 and G2: views that live as long as the layer stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the input has D and d as stated.
  Matrix<S> operator()(const WeightFeatures<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<BlockInvariant> backward(const WeightFeatures<S>& input, const Matrix<S>& cotangent) const;

 private:
  InvariantLayer<S> sums_;
  std::optional<HeadInvariantLayer<S>> heads_;
};

extern template class BlockInvariant<float>;
extern template class BlockInvariant<double>;
extern template class BlockInvariant<Float50>;
extern template class BlockInvariant<Rational>;

static_assert(DifferentiableLayer<BlockInvariant<double>>);

}  // namespace attnsym
