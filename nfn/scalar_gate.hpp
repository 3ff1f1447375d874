#pragma once

#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"
#include "nfn/weight_features.hpp"

namespace attnsym {

/// Multiplies every channel of Q, K, V and O by a number that is a linear map of the pooled invariants: a
/// nonlinearity for the tensors on which an entry-wise one would break the gauges. A, B, bA and bB pass
/// unchanged. Exactly equivariant under G_U over every scalar [N13].
template <Scalar S>
class ScalarGate {
 public:
  using Input = WeightFeatures<S>;
  using Output = WeightFeatures<S>;

  /// All parameters zero, which multiplies by zero; the constants S7 of every tensor are the plain factors.
  /// @throws ShapeError unless both are positive.
  ScalarGate(Index model_width, Index channels);

  /// SQ1 ... SQ7, SK1 ..., SV1 ..., SO1 ...: views that live as long as the layer stays where it is. The
  /// numbers are those of the features in InvariantLayer.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the input has D and d as stated.
  WeightFeatures<S> operator()(WeightFeatures<S> input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<ScalarGate> backward(const WeightFeatures<S>& input, WeightFeatures<S> cotangent) const;

 private:
  Index width_;
  Index channels_;
  Matrix<S> gates_;  // rows (tensor, channel), 4 d x PooledLayout::size()
};

extern template class ScalarGate<float>;
extern template class ScalarGate<double>;
extern template class ScalarGate<Float50>;
extern template class ScalarGate<Rational>;

static_assert(DifferentiableLayer<ScalarGate<double>>);

}  // namespace attnsym
