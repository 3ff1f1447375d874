#pragma once

#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"
#include "nfn/weight_features.hpp"

namespace attnsym {

/// Lets the attention of a block act on itself: with the invariant matrix M = sum_i Q_i K_i^T of every
/// channel,
///
///     X -> X + s M X + t M^T X    for X of Q, K and V, every channel with its own s and t
///
/// Invariant D x D matrices from the left commute with all gauges. O, A, B, bA and bB pass unchanged. Exactly
/// equivariant under G_U over every scalar [N13].
template <Scalar S>
class LeftMultiplier {
 public:
  using Input = WeightFeatures<S>;
  using Output = WeightFeatures<S>;

  /// All parameters zero: the identity. @throws ShapeError unless both are positive.
  LeftMultiplier(Index model_width, Index channels);

  /// sQ, tQ, sK, tK, sV, tV, one number per channel: views that live as long as the layer stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the input has D and d as stated.
  WeightFeatures<S> operator()(const WeightFeatures<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<LeftMultiplier> backward(const WeightFeatures<S>& input,
                                     const WeightFeatures<S>& cotangent) const;

 private:
  // s M + t M^T for tensor number t of Q, K, V.
  Matrix<S> multiplier(const Matrix<S>& circuit, Index tensor, Index channel) const;

  Index width_;
  Matrix<S> factors_;  // rows (tensor, channel), 3 d x 2: s and t
};

extern template class LeftMultiplier<float>;
extern template class LeftMultiplier<double>;
extern template class LeftMultiplier<Float50>;
extern template class LeftMultiplier<Rational>;

static_assert(DifferentiableLayer<LeftMultiplier<double>>);

}  // namespace attnsym
