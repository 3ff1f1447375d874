#include "nfn/equivariant_linear.hpp"

#include "nfn/head_blocks.hpp"
#include "nfn/local_features.hpp"
#include "nfn/model_axis.hpp"
#include "nfn/pooled_features.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

template <class S>
Matrix<S> zeros(Index rows, Index cols) {
  return Matrix<S>::Zero(rows, cols);
}

Index positive(Index extent) {
  if (extent < 1) throw ShapeError("a layer needs a positive model width and channels");
  return extent;
}

}  // namespace

template <Scalar S>
EquivariantLinear<S>::EquivariantLinear(Index model_width, Index in_channels, Index out_channels)
    : width_(positive(model_width)),
      in_channels_(positive(in_channels)),
      out_channels_(positive(out_channels)),
      attention_(model_width, in_channels, out_channels, true) {
  up_entry_ = zeros<S>(out_channels, in_channels);
  pooled_ = zeros<S>(2 * out_channels, PooledLayout{width_, in_channels}.size());
  fixed_ = zeros<S>(2 * model_rows(), pooled_.cols());
  unit_ = zeros<S>(2 * out_channels + model_rows(), UnitLayout{width_, in_channels}.size());
  model_ = zeros<S>(out_channels, ModelLayout{width_, in_channels}.size());
}

template <Scalar S>
EquivariantLinear<S> EquivariantLinear<S>::low_rank(Index model_width, Index in_channels, Index out_channels,
                                                    Index rank) {
  if (rank < 1) throw ShapeError("a layer of low rank needs a positive rank");
  EquivariantLinear layer(model_width, in_channels, out_channels);
  layer.probes_ = zeros<S>(rank, layer.qk_features());
  layer.fixed_ = zeros<S>(layer.fixed_.rows(), layer.fixed_.cols() - layer.qk_features() + rank);
  return layer;
}

template <Scalar S>
Index EquivariantLinear<S>::parameter_count(Index model_width, Index in_channels, Index out_channels) {
  const Index w = model_width;
  return in_channels * out_channels * (2 * w * w * w + 12 * w * w + 15 * w + 12) + out_channels * (2 * w + 2);
}

template <Scalar S>
Index EquivariantLinear<S>::parameter_count(Index model_width, Index in_channels, Index out_channels,
                                            Index rank) {
  const Index w = model_width;
  return parameter_count(w, in_channels, out_channels) - 2 * in_channels * out_channels * w * w * w +
         rank * (2 * out_channels * w + in_channels * w * w);
}

template <Scalar S>
std::vector<ParameterView<S>> EquivariantLinear<S>::parameters() {
  ParameterTable<S> table(width_, in_channels_, out_channels_);
  using Features = std::vector<typename ParameterTable<S>::Feature>;
  table.add(up_entry_, 0, false, {{0}}, {"A7"});
  const Features pooled{{2}, {1}, {0}, {1}, {0}, {1}, {0, false}};
  table.add(pooled_, 0, false, pooled, {"A1", "A2", "A4", "A8", "A10", "A12", "A13"});
  table.add(pooled_, out_channels_, false, pooled, {"a1", "a2", "a3", "a5", "a7", "a9", "a10"});
  const bool full = probes_.size() == 0;
  Features fixed = pooled;
  if (!full) fixed[0] = {0, false, probes_.rows()};
  table.add(fixed_, 0, true, fixed, {full ? "B1" : "B1u", "B2", "B3", "B5", "B7", "B9", "B10"});
  table.add(fixed_, model_rows(), true, fixed, {full ? "c1" : "c1u", "c2", "c3", "c4", "c5", "c6", "c7"});
  const Features unit{{0}, {1}, {0}};
  table.add(unit_, 0, false, unit, {"A6", "A9", "A11"});
  table.add(unit_, out_channels_, false, unit, {"a4", "a6", "a8"});
  table.add(unit_, 2 * out_channels_, true, unit, {"B4", "B6", "B8"});
  table.add(model_, 0, false, {{1}, {0}}, {"A3", "A5"});
  std::vector<ParameterView<S>> views = attention_.parameters();
  views.insert(views.end(), table.views().begin(), table.views().end());
  if (!full) {
    ParameterTable<S> probes(width_, in_channels_, probes_.rows());
    probes.add(probes_, 0, false, {{2}}, {"W"});
    views.push_back(probes.views().front());
  }
  return views;
}

// The pooled features as B and bB see them: all of them, or with W Q K^T for Q K^T.
template <Scalar S>
Matrix<S> EquivariantLinear<S>::compressed(const Matrix<S>& pooled) const {
  if (probes_.size() == 0) return pooled;
  Matrix<S> result(fixed_.cols(), pooled.cols());
  result.topRows(probes_.rows()) = multiply(probes_, pooled.topRows(qk_features()));
  result.bottomRows(result.rows() - probes_.rows()) = pooled.bottomRows(pooled.rows() - qk_features());
  return result;
}

template <Scalar S>
WeightFeatures<S> EquivariantLinear<S>::operator()(const WeightFeatures<S>& input) const {
  require_consistent(input, width_, in_channels_);
  auto result = WeightFeatures<S>::uninitialized(input.shape, out_channels_, input.batch);
  attention_.apply(input, result);
  set_perceptron(input, result);
  return result;
}

template <Scalar S>
void EquivariantLinear<S>::set_perceptron(const WeightFeatures<S>& input, WeightFeatures<S>& result) const {
  const Index e = out_channels_;
  const Index units = input.shape.hidden_width;
  const Matrix<S> pooled = pooled_features(input);
  const Matrix<S> fixed = multiply(fixed_, compressed(pooled));
  const Matrix<S> unit_input = unit_features(input);
  result.down = multiply(unit_.bottomRows(model_rows()), unit_input);
  add_to_columns(result.down, fixed.topRows(model_rows()), units);
  result.down_bias = fixed.bottomRows(model_rows());
  Matrix<S> unit = multiply(unit_.topRows(2 * e), unit_input);
  add_to_columns(unit, multiply(pooled_, pooled), units);
  result.up_bias = unit.bottomRows(e);
  const Matrix<S> model = columns_to_coordinates(multiply(model_, model_features(input)), width_);
  for_each_module(result, [&](Index c, Index n) {
    auto block = result.up.block(c * width_, n * units, width_, units);
    set_mixed_channel(block, up_entry_.row(c), input.up.middleCols(n * units, units));
    block.rowwise() += unit.row(c).segment(n * units, units);
    block.colwise() += model.col(n).segment(c * width_, width_);
  });
}

template <Scalar S>
Gradients<EquivariantLinear<S>> EquivariantLinear<S>::backward(const WeightFeatures<S>& input,
                                                               const WeightFeatures<S>& cotangent) const {
  const Index rank = probes_.rows();
  EquivariantLinear by = rank > 0 ? low_rank(width_, in_channels_, out_channels_, rank)
                                  : EquivariantLinear(width_, in_channels_, out_channels_);
  WeightFeatures<S> by_input = accumulate(input, cotangent, by);
  return {std::move(by_input), std::move(by)};
}

template <Scalar S>
WeightFeatures<S> EquivariantLinear<S>::accumulate(const WeightFeatures<S>& input,
                                                   const WeightFeatures<S>& cotangent,
                                                   EquivariantLinear& sum) const {
  require_consistent(input, width_, in_channels_);
  require_consistent(cotangent, width_, out_channels_);
  require_same_size("the checkpoints of input and cotangent", input.batch, cotangent.batch);
  if (!(input.shape == cotangent.shape))
    throw ShapeError("input and cotangent are blocks of different shapes");
  if (sum.width_ != width_ || sum.in_channels_ != in_channels_ || sum.out_channels_ != out_channels_ ||
      sum.probes_.rows() != probes_.rows())
    throw ShapeError("the derivatives are summed in a layer of another shape");
  Gradients<EquivariantLinear> gradients{WeightFeatures<S>::zero(input.shape, in_channels_, input.batch),
                                         std::move(sum)};
  attention_.pull_back(input, cotangent, gradients.input, gradients.parameters.attention_);
  pull_back_perceptron(input, cotangent, gradients);
  sum = std::move(gradients.parameters);
  return std::move(gradients.input);
}

// The parts of backward add to the gradients of parameters and set, then add to, those of the input.
template <Scalar S>
void EquivariantLinear<S>::pull_back_perceptron(const WeightFeatures<S>& input,
                                                const WeightFeatures<S>& cotangent,
                                                Gradients<EquivariantLinear>& gradients) const {
  EquivariantLinear& by = gradients.parameters;
  const Index units = input.shape.hidden_width;

  by.up_entry_ += mixer_gradient(cotangent.up, input.up, width_);
  const Matrix<S> up_sums = sum_model_axis(cotangent.up, width_);
  for_each_module(input, [&](Index c, Index n) {
    set_mixed_channel(gradients.input.up.block(c * width_, n * units, width_, units), up_entry_.col(c),
                      cotangent.up.middleCols(n * units, units));
  });

  const Matrix<S> model = coordinates_to_columns(sum_columns(cotangent.up, units), width_);
  add_product_nt(by.model_, model, model_features(input));
  pull_back_model(input, multiply_tn(model_, model), gradients.input);

  // A and bA together; B by itself, because it is large.
  Matrix<S> unit(2 * out_channels_, input.up.cols());
  unit << up_sums, cotangent.up_bias;
  const Matrix<S> unit_input = unit_features(input);
  add_product_nt(by.unit_.topRows(unit.rows()), unit, unit_input);
  add_product_nt(by.unit_.bottomRows(model_rows()), cotangent.down, unit_input);
  Matrix<S> by_unit = multiply_tn(unit_.bottomRows(model_rows()), cotangent.down);
  add_product_tn(by_unit, unit_.topRows(unit.rows()), unit);
  pull_back_unit(by_unit, gradients.input);

  Matrix<S> fixed(fixed_.rows(), input.batch);
  fixed << sum_columns(cotangent.down, units), cotangent.down_bias;
  const Matrix<S> by_pooled = pull_back_outputs(pooled_features(input), sum_columns(unit, units), fixed, by);
  add(gradients.input, pull_back_pooled(input, by_pooled));
}

// From the cotangents of the outputs that pooled features reach, A, bA and B summed over units and bB, to
// that of the features.
template <Scalar S>
Matrix<S> EquivariantLinear<S>::pull_back_outputs(const Matrix<S>& pooled, const Matrix<S>& unit,
                                                  const Matrix<S>& fixed, EquivariantLinear& by) const {
  add_product_nt(by.pooled_, unit, pooled);
  add_product_nt(by.fixed_, fixed, compressed(pooled));
  Matrix<S> result = multiply_tn(pooled_, unit);
  if (probes_.size() == 0) {
    add_product_tn(result, fixed_, fixed);
    return result;
  }
  const Matrix<S> by_compressed = multiply_tn(fixed_, fixed);
  const auto by_probes = by_compressed.topRows(probes_.rows());
  add_product_nt(by.probes_, by_probes, pooled.topRows(qk_features()));
  add_product_tn(result.topRows(qk_features()), probes_, by_probes);
  result.bottomRows(pooled.rows() - qk_features()) +=
      by_compressed.bottomRows(by_compressed.rows() - probes_.rows());
  return result;
}

template class EquivariantLinear<float>;
template class EquivariantLinear<double>;
template class EquivariantLinear<Float50>;
template class EquivariantLinear<Rational>;

}  // namespace attnsym
