#include "nfn/pooled_features.hpp"

#include "nfn/head_blocks.hpp"
#include "nfn/model_axis.hpp"
#include "symmetry/matrix_products.hpp"

namespace attnsym {
namespace {

template <class S>
using BlockMap = Eigen::Map<Matrix<S>>;
template <class S>
using ConstBlockMap = Eigen::Map<const Matrix<S>>;

template <class S>
PooledLayout layout_of(const WeightFeatures<S>& features) {
  return {features.shape.model_width, features.channels};
}

}  // namespace

template <Scalar S>
Matrix<S> pooled_features(const WeightFeatures<S>& features) {
  const BlockShape& shape = features.shape;
  const Index d = shape.model_width;
  const PooledLayout rows = layout_of(features);
  Matrix<S> pooled(rows.size(), features.batch);
  const Matrix<S> output_sums = sum_model_axis(features.output, d);
  for_each_module(features, [&](Index c, Index n) {
    // Column-major, so that the second index of QK is the fast one: K Q^T.
    BlockMap<S>(&pooled(rows.qk() + c * d * d, n), d, d) =
        multiply_nt(heads_of(features.key, shape, c, n, shape.key_width),
                    heads_of(features.query, shape, c, n, shape.key_width));
    const Index columns = shape.heads * shape.value_width;
    pooled.block(rows.vo() + c * d, n, d, 1) =
        multiply_nt(heads_of(features.value, shape, c, n, shape.value_width),
                    output_sums.block(c, n * columns, 1, columns));
  });
  pooled.middleRows(rows.a(), rows.channels) =
      sum_model_axis(sum_columns(features.up, shape.hidden_width), d);
  pooled.middleRows(rows.b(), rows.channels * d) = sum_columns(features.down, shape.hidden_width);
  pooled.middleRows(rows.b_a(), rows.channels) = sum_columns(features.up_bias, shape.hidden_width);
  pooled.middleRows(rows.b_b(), rows.channels * d) = features.down_bias;
  pooled.row(rows.one()).setOnes();
  return pooled;
}

template <Scalar S>
WeightFeatures<S> pull_back_pooled(const WeightFeatures<S>& features, const Matrix<S>& cotangent) {
  const BlockShape& shape = features.shape;
  const Index d = shape.model_width;
  const Index units = shape.hidden_width;
  const Index columns = shape.heads * shape.value_width;
  const PooledLayout rows = layout_of(features);
  const Matrix<S> output_sums = sum_model_axis(features.output, d);
  auto gradient = WeightFeatures<S>::uninitialized(shape, features.channels, features.batch);
  for_each_module(features, [&](Index c, Index n) {
    const ConstBlockMap<S> kq(&cotangent(rows.qk() + c * d * d, n), d, d);
    heads_of(gradient.key, shape, c, n, shape.key_width) =
        multiply(kq, heads_of(features.query, shape, c, n, shape.key_width));
    heads_of(gradient.query, shape, c, n, shape.key_width) =
        multiply_tn(kq, heads_of(features.key, shape, c, n, shape.key_width));
    const auto vo = cotangent.block(rows.vo() + c * d, n, d, 1);
    heads_of(gradient.value, shape, c, n, shape.value_width) =
        multiply(vo, output_sums.block(c, n * columns, 1, columns));
    const RowVector<S> by_sums = multiply_tn(vo, heads_of(features.value, shape, c, n, shape.value_width));
    heads_of(gradient.output, shape, c, n, shape.value_width).rowwise() = by_sums;
    gradient.up.block(c * d, n * units, d, units).setConstant(cotangent(rows.a() + c, n));
    gradient.down.block(c * d, n * units, d, units).colwise() = cotangent.col(n).segment(rows.b() + c * d, d);
    gradient.up_bias.row(c).segment(n * units, units).setConstant(cotangent(rows.b_a() + c, n));
  });
  gradient.down_bias = cotangent.middleRows(rows.b_b(), rows.channels * d);
  return gradient;
}

template Matrix<float> pooled_features(const WeightFeatures<float>&);
template Matrix<double> pooled_features(const WeightFeatures<double>&);
template Matrix<Float50> pooled_features(const WeightFeatures<Float50>&);
template Matrix<Rational> pooled_features(const WeightFeatures<Rational>&);

template WeightFeatures<float> pull_back_pooled(const WeightFeatures<float>&, const Matrix<float>&);
template WeightFeatures<double> pull_back_pooled(const WeightFeatures<double>&, const Matrix<double>&);
template WeightFeatures<Float50> pull_back_pooled(const WeightFeatures<Float50>&, const Matrix<Float50>&);
template WeightFeatures<Rational> pull_back_pooled(const WeightFeatures<Rational>&, const Matrix<Rational>&);

}  // namespace attnsym
