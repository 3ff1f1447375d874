#include "nfn/invariant.hpp"

#include "nfn/pooled_features.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {

template <Scalar S>
InvariantLayer<S>::InvariantLayer(Index model_width, Index in_channels, Index outputs)
    : width_(model_width), in_channels_(in_channels) {
  if (std::min({model_width, in_channels, outputs}) < 1) {
    throw ShapeError("a layer needs a positive model width, channels and outputs");
  }
  pooled_ = Matrix<S>::Zero(outputs, PooledLayout{width_, in_channels}.size());
}

template <Scalar S>
Index InvariantLayer<S>::parameter_count(Index model_width, Index in_channels, Index outputs) {
  return in_channels * outputs * (model_width * model_width + 3 * model_width + 2) + outputs;
}

template <Scalar S>
std::vector<ParameterView<S>> InvariantLayer<S>::parameters() {
  ParameterTable<S> table(width_, in_channels_, outputs());
  table.add(pooled_, 0, false, {{2}, {1}, {0}, {1}, {0}, {1}, {0, false}},
            {"F1", "F2", "F3", "F4", "F5", "F6", "F7"});
  return table.views();
}

template <Scalar S>
Matrix<S> InvariantLayer<S>::operator()(const WeightFeatures<S>& input) const {
  require_consistent(input, width_, in_channels_);
  return multiply(pooled_, pooled_features(input));
}

template <Scalar S>
Gradients<InvariantLayer<S>> InvariantLayer<S>::backward(const WeightFeatures<S>& input,
                                                         const Matrix<S>& cotangent) const {
  InvariantLayer by(width_, in_channels_, outputs());
  WeightFeatures<S> by_input = accumulate(input, cotangent, by);
  return {std::move(by_input), std::move(by)};
}

template <Scalar S>
WeightFeatures<S> InvariantLayer<S>::accumulate(const WeightFeatures<S>& input, const Matrix<S>& cotangent,
                                                InvariantLayer& sum) const {
  require_consistent(input, width_, in_channels_);
  require_same_size("the outputs and the cotangent", outputs(), cotangent.rows());
  require_same_size("the checkpoints of input and cotangent", input.batch, cotangent.cols());
  if (sum.width_ != width_ || sum.in_channels_ != in_channels_ || sum.outputs() != outputs())
    throw ShapeError("the derivatives are summed in a layer of another shape");
  add_product_nt(sum.pooled_, cotangent, pooled_features(input));
  return pull_back_pooled(input, multiply_tn(pooled_, cotangent));
}

template class InvariantLayer<float>;
template class InvariantLayer<double>;
template class InvariantLayer<Float50>;
template class InvariantLayer<Rational>;

}  // namespace attnsym
