#include "nfn/local_features.hpp"

#include "nfn/head_blocks.hpp"
#include "nfn/model_axis.hpp"
#include "symmetry/matrix_products.hpp"

namespace attnsym {
namespace {

// Sums over hidden units as (c) x (checkpoint, j), from the (c, j) x checkpoint that sum_columns gives.
template <class S>
void put_row_sums(const WeightFeatures<S>& features, Matrix<S>& target, Index first_row) {
  const Index d = features.shape.model_width;
  const Matrix<S> sums = sum_columns(features.up, features.shape.hidden_width);
  for_each_module(features, [&](Index c, Index n) {
    target.row(first_row + c).segment(n * d, d) = sums.col(n).segment(c * d, d).transpose();
  });
}

}  // namespace

template <Scalar S>
Matrix<S> unit_features(const WeightFeatures<S>& features) {
  const UnitLayout rows{features.shape.model_width, features.channels};
  Matrix<S> unit(rows.size(), features.up.cols());
  unit.middleRows(rows.a(), rows.channels) = sum_model_axis(features.up, rows.width);
  unit.middleRows(rows.b(), rows.channels * rows.width) = features.down;
  unit.middleRows(rows.b_a(), rows.channels) = features.up_bias;
  return unit;
}

template <Scalar S>
void pull_back_unit(const Matrix<S>& cotangent, WeightFeatures<S>& gradient) {
  const UnitLayout rows{gradient.shape.model_width, gradient.channels};
  add_along_model_axis(gradient.up, Matrix<S>(cotangent.middleRows(rows.a(), rows.channels)), rows.width);
  gradient.down += cotangent.middleRows(rows.b(), rows.channels * rows.width);
  gradient.up_bias += cotangent.middleRows(rows.b_a(), rows.channels);
}

template <Scalar S>
Matrix<S> model_features(const WeightFeatures<S>& features) {
  const BlockShape& shape = features.shape;
  const Index d = shape.model_width;
  const ModelLayout rows{d, features.channels};
  Matrix<S> model(rows.size(), features.batch * d);
  for_each_module(features, [&](Index c, Index n) {
    model.block(rows.vo() + c * d, n * d, d, d) =
        multiply_nt(heads_of(features.value, shape, c, n, shape.value_width),
                    heads_of(features.output, shape, c, n, shape.value_width));
  });
  put_row_sums(features, model, rows.a());
  return model;
}

template <Scalar S>
void pull_back_model(const WeightFeatures<S>& features, const Matrix<S>& cotangent,
                     WeightFeatures<S>& gradient) {
  const BlockShape& shape = features.shape;
  const Index d = shape.model_width;
  const ModelLayout rows{d, features.channels};
  Matrix<S> up_sums(rows.channels * d, features.batch);
  for_each_module(features, [&](Index c, Index n) {
    const auto vo = cotangent.block(rows.vo() + c * d, n * d, d, d);
    add_product(heads_of(gradient.value, shape, c, n, shape.value_width), vo,
                heads_of(features.output, shape, c, n, shape.value_width));
    add_product_tn(heads_of(gradient.output, shape, c, n, shape.value_width), vo,
                   heads_of(features.value, shape, c, n, shape.value_width));
    up_sums.col(n).segment(c * d, d) = cotangent.row(rows.a() + c).segment(n * d, d).transpose();
  });
  add_to_columns(gradient.up, up_sums, shape.hidden_width);
}

template Matrix<float> unit_features(const WeightFeatures<float>&);
template Matrix<double> unit_features(const WeightFeatures<double>&);
template Matrix<Float50> unit_features(const WeightFeatures<Float50>&);
template Matrix<Rational> unit_features(const WeightFeatures<Rational>&);
template Matrix<float> model_features(const WeightFeatures<float>&);
template Matrix<double> model_features(const WeightFeatures<double>&);
template Matrix<Float50> model_features(const WeightFeatures<Float50>&);
template Matrix<Rational> model_features(const WeightFeatures<Rational>&);

template void pull_back_unit(const Matrix<float>&, WeightFeatures<float>&);
template void pull_back_unit(const Matrix<double>&, WeightFeatures<double>&);
template void pull_back_unit(const Matrix<Float50>&, WeightFeatures<Float50>&);
template void pull_back_unit(const Matrix<Rational>&, WeightFeatures<Rational>&);
template void pull_back_model(const WeightFeatures<float>&, const Matrix<float>&, WeightFeatures<float>&);
template void pull_back_model(const WeightFeatures<double>&, const Matrix<double>&, WeightFeatures<double>&);
template void pull_back_model(const WeightFeatures<Float50>&, const Matrix<Float50>&,
                              WeightFeatures<Float50>&);
template void pull_back_model(const WeightFeatures<Rational>&, const Matrix<Rational>&,
                              WeightFeatures<Rational>&);

}  // namespace attnsym
