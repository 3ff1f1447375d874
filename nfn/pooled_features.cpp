#include "nfn/pooled_features.hpp"

#include "nfn/head_blocks.hpp"
#include "nfn/model_axis.hpp"

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
    BlockMap<S>(&pooled(rows.qk() + c * d * d, n), d, d).noalias() =
        heads_of(features.key, shape, c, n, shape.key_width) *
        heads_of(features.query, shape, c, n, shape.key_width).transpose();
    const Index columns = shape.heads * shape.value_width;
    pooled.col(n).segment(rows.vo() + c * d, d).noalias() =
        heads_of(features.value, shape, c, n, shape.value_width) *
        output_sums.row(c).segment(n * columns, columns).transpose();
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
void pull_back_pooled(const WeightFeatures<S>& features, const Matrix<S>& cotangent,
                      WeightFeatures<S>& gradient) {
  const BlockShape& shape = features.shape;
  const Index d = shape.model_width;
  const PooledLayout rows = layout_of(features);
  const Matrix<S> output_sums = sum_model_axis(features.output, d);
  Matrix<S> output_sums_cotangent(output_sums.rows(), output_sums.cols());
  for_each_module(features, [&](Index c, Index n) {
    const ConstBlockMap<S> kq(&cotangent(rows.qk() + c * d * d, n), d, d);
    heads_of(gradient.key, shape, c, n, shape.key_width).noalias() +=
        kq * heads_of(features.query, shape, c, n, shape.key_width);
    heads_of(gradient.query, shape, c, n, shape.key_width).noalias() +=
        kq.transpose() * heads_of(features.key, shape, c, n, shape.key_width);
    const Index columns = shape.heads * shape.value_width;
    const auto vo = cotangent.col(n).segment(rows.vo() + c * d, d);
    heads_of(gradient.value, shape, c, n, shape.value_width).noalias() +=
        vo * output_sums.row(c).segment(n * columns, columns);
    output_sums_cotangent.row(c).segment(n * columns, columns).noalias() =
        vo.transpose() * heads_of(features.value, shape, c, n, shape.value_width);
  });
  add_along_model_axis(gradient.output, output_sums_cotangent, d);
  Matrix<S> up_sums = Matrix<S>::Zero(rows.channels * d, features.batch);
  add_along_model_axis(up_sums, Matrix<S>(cotangent.middleRows(rows.a(), rows.channels)), d);
  add_to_columns(gradient.up, up_sums, shape.hidden_width);
  add_to_columns(gradient.down, cotangent.middleRows(rows.b(), rows.channels * d), shape.hidden_width);
  add_to_columns(gradient.up_bias, cotangent.middleRows(rows.b_a(), rows.channels), shape.hidden_width);
  gradient.down_bias += cotangent.middleRows(rows.b_b(), rows.channels * d);
}

template Matrix<float> pooled_features(const WeightFeatures<float>&);
template Matrix<double> pooled_features(const WeightFeatures<double>&);
template Matrix<Float50> pooled_features(const WeightFeatures<Float50>&);
template Matrix<Rational> pooled_features(const WeightFeatures<Rational>&);

template void pull_back_pooled(const WeightFeatures<float>&, const Matrix<float>&, WeightFeatures<float>&);
template void pull_back_pooled(const WeightFeatures<double>&, const Matrix<double>&, WeightFeatures<double>&);
template void pull_back_pooled(const WeightFeatures<Float50>&, const Matrix<Float50>&,
                               WeightFeatures<Float50>&);
template void pull_back_pooled(const WeightFeatures<Rational>&, const Matrix<Rational>&,
                               WeightFeatures<Rational>&);

}  // namespace attnsym
