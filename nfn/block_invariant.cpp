#include "nfn/block_invariant.hpp"

#include "symmetry/errors.hpp"

namespace attnsym {

template <Scalar S>
BlockInvariant<S>::BlockInvariant(Index model_width, Index in_channels, Index outputs, Index head_features)
    : sums_(model_width, in_channels, outputs) {
  if (head_features < 0) throw ShapeError("a layer has a negative number of features per head");
  if (head_features > 0) heads_.emplace(model_width, in_channels, head_features, outputs);
}

template <Scalar S>
Index BlockInvariant<S>::parameter_count(Index model_width, Index in_channels, Index outputs,
                                         Index head_features) {
  Index count = InvariantLayer<S>::parameter_count(model_width, in_channels, outputs);
  if (head_features > 0) {
    count += HeadInvariantLayer<S>::parameter_count(model_width, in_channels, head_features, outputs);
  }
  return count;
}

template <Scalar S>
std::vector<ParameterView<S>> BlockInvariant<S>::parameters() {
  std::vector<ParameterView<S>> views = sums_.parameters();
  if (heads_) {
    const auto more = heads_->parameters();
    views.insert(views.end(), more.begin(), more.end());
  }
  return views;
}

template <Scalar S>
Matrix<S> BlockInvariant<S>::operator()(const WeightFeatures<S>& input) const {
  Matrix<S> result = sums_(input);
  if (heads_) result += (*heads_)(input);
  return result;
}

template <Scalar S>
Gradients<BlockInvariant<S>> BlockInvariant<S>::backward(const WeightFeatures<S>& input,
                                                         const Matrix<S>& cotangent) const {
  auto by_sums = sums_.backward(input, cotangent);
  Gradients<BlockInvariant> gradients{std::move(by_sums.input), *this};
  gradients.parameters.sums_ = std::move(by_sums.parameters);
  if (heads_) {
    auto by_heads = heads_->backward(input, cotangent);
    add(gradients.input, by_heads.input);
    gradients.parameters.heads_ = std::move(by_heads.parameters);
  }
  return gradients;
}

template class BlockInvariant<float>;
template class BlockInvariant<double>;
template class BlockInvariant<Float50>;
template class BlockInvariant<Rational>;

}  // namespace attnsym
