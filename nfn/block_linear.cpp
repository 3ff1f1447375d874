#include "nfn/block_linear.hpp"

#include <algorithm>

#include "symmetry/errors.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

const BlockShape& validated(const BlockShape& shape, Index in_channels, Index outputs) {
  shape.validate();
  if (std::min(in_channels, outputs) < 1) throw ShapeError("a layer needs channels");
  return shape;
}

template <class S>
void require_kind(const WeightFeatures<S>& features, const BlockShape& shape, Index channels) {
  require_consistent(features);
  require_same_size("the channels of a layer and its input", channels, features.channels);
  require_same_size("the model widths of a layer and its input", shape.model_width,
                    features.shape.model_width);
  if (shape.residual != features.shape.residual || shape.affine_norm != features.shape.affine_norm) {
    throw ShapeError("the layer is for another kind of block");
  }
}

// An invariant is a table with fixed rows only.
TableRows invariants(Index outputs) { return {outputs, 0, 0, 0}; }

}  // namespace

template <Scalar S>
BlockLinear<S>::BlockLinear(const BlockShape& shape, Index in_channels, Index out_channels)
    : shape_(validated(shape, in_channels, out_channels)),
      in_channels_(in_channels),
      out_channels_(out_channels),
      attention_(shape.model_width, in_channels, out_channels, !shape.residual),
      tables_(feature_rows(shape, in_channels), entry_rows(shape, out_channels)) {}

template <Scalar S>
Index BlockLinear<S>::parameter_count(const BlockShape& shape, Index d, Index e) {
  const Index square = shape.model_width * shape.model_width;
  return d * e * (3 * square + (shape.residual ? square : 2)) +
         TableLinear<S>::parameter_count(feature_rows(shape, d), entry_rows(shape, e));
}

template <Scalar S>
std::vector<ParameterView<S>> BlockLinear<S>::parameters() {
  std::vector<ParameterView<S>> views = attention_.parameters();
  const auto more = tables_.parameters();
  views.insert(views.end(), more.begin(), more.end());
  return views;
}

template <Scalar S>
WeightFeatures<S> BlockLinear<S>::operator()(const WeightFeatures<S>& input) const {
  require_kind(input, shape_, in_channels_);
  auto result = WeightFeatures<S>::uninitialized(input.shape, out_channels_, input.batch);
  attention_.apply(input, result);
  set_entries(tables_(feature_tables(input)), result);
  return result;
}

template <Scalar S>
Gradients<BlockLinear<S>> BlockLinear<S>::backward(const WeightFeatures<S>& input,
                                                   const WeightFeatures<S>& cotangent) const {
  require_kind(input, shape_, in_channels_);
  require_kind(cotangent, shape_, out_channels_);
  if (!(input.shape == cotangent.shape) || input.batch != cotangent.batch)
    throw ShapeError("input and cotangent are blocks of different shapes");
  Gradients<BlockLinear> gradients{WeightFeatures<S>::uninitialized(input.shape, in_channels_, input.batch),
                                   BlockLinear(shape_, in_channels_, out_channels_)};
  attention_.pull_back(input, cotangent, gradients.input, gradients.parameters.attention_);
  auto by_tables = tables_.backward(feature_tables(input), entry_tables(cotangent));
  gradients.parameters.tables_ = std::move(by_tables.parameters);
  set_entries(by_tables.input, gradients.input);
  pull_back_products(input, by_tables.input, gradients.input);
  return gradients;
}

template <Scalar S>
BlockPooling<S>::BlockPooling(const BlockShape& shape, Index in_channels, Index outputs)
    : shape_(validated(shape, in_channels, outputs)),
      in_channels_(in_channels),
      tables_(feature_rows(shape, in_channels), invariants(outputs)) {}

template <Scalar S>
Index BlockPooling<S>::parameter_count(const BlockShape& shape, Index in_channels, Index outputs) {
  return TableLinear<S>::parameter_count(feature_rows(shape, in_channels), invariants(outputs));
}

template <Scalar S>
Matrix<S> BlockPooling<S>::operator()(const WeightFeatures<S>& input) const {
  require_kind(input, shape_, in_channels_);
  return tables_(feature_tables(input)).fixed;
}

template <Scalar S>
Gradients<BlockPooling<S>> BlockPooling<S>::backward(const WeightFeatures<S>& input,
                                                     const Matrix<S>& cotangent) const {
  require_kind(input, shape_, in_channels_);
  require_same_size("the checkpoints of input and cotangent", input.batch, cotangent.cols());
  auto by = BlockTables<S>::uninitialized(invariants(cotangent.rows()), input.shape.model_width,
                                          input.shape.hidden_width, input.batch);
  by.fixed = cotangent;
  auto by_tables = tables_.backward(feature_tables(input), by);
  Gradients<BlockPooling> gradients{WeightFeatures<S>::zero(input.shape, in_channels_, input.batch), *this};
  gradients.parameters.tables_ = std::move(by_tables.parameters);
  set_entries(by_tables.input, gradients.input);
  pull_back_products(input, by_tables.input, gradients.input);
  return gradients;
}

template class BlockLinear<float>;
template class BlockLinear<double>;
template class BlockLinear<Float50>;
template class BlockLinear<Rational>;
template class BlockPooling<float>;
template class BlockPooling<double>;
template class BlockPooling<Float50>;
template class BlockPooling<Rational>;

}  // namespace attnsym
