#pragma once

#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"
#include "nfn/weight_features.hpp"

namespace attnsym {

/// max(x, 0) on A, B, bA and bB, entry by entry. The rest passes unchanged: an activation on Q, K, V or O
/// would not commute with their gauges [N13].
template <Scalar S>
class PerceptronRelu {
 public:
  using Input = WeightFeatures<S>;
  using Output = WeightFeatures<S>;

  /// None.
  std::vector<ParameterView<S>> parameters() { return {}; }

  WeightFeatures<S> operator()(WeightFeatures<S> input) const;

  /// The derivative at 0 counts as 0. @throws ShapeError if the cotangent does not fit the input.
  Gradients<PerceptronRelu> backward(const WeightFeatures<S>& input, WeightFeatures<S> cotangent) const;
};

extern template class PerceptronRelu<float>;
extern template class PerceptronRelu<double>;
extern template class PerceptronRelu<Float50>;
extern template class PerceptronRelu<Rational>;

static_assert(DifferentiableLayer<PerceptronRelu<double>>);

}  // namespace attnsym
