#include "nfn/weight_features.hpp"

#include <algorithm>
#include <string>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

std::string describe(Index rows, Index cols) { return std::to_string(rows) + " x " + std::to_string(cols); }

template <Scalar To, Scalar From>
To cast_scalar(const From& value) {
  if constexpr (std::is_floating_point_v<To> && !std::is_floating_point_v<From>) {
    return value.template convert_to<To>();
  } else {
    return To(value);
  }
}

}  // namespace

template <Scalar S>
WeightFeatures<S> WeightFeatures<S>::uninitialized(const BlockShape& shape, Index channels, Index batch) {
  shape.validate();
  if (channels < 1 || batch < 0) throw ShapeError("features need at least one channel");
  const Index rows = channels * shape.model_width;
  const Index heads = batch * shape.heads;
  const Index norm_rows = shape.affine_norm ? rows : 0;
  const Index norm_columns = shape.affine_norm ? batch : 0;
  return {shape,
          channels,
          batch,
          Matrix<S>(rows, heads * shape.key_width),
          Matrix<S>(rows, heads * shape.key_width),
          Matrix<S>(rows, heads * shape.value_width),
          Matrix<S>(rows, heads * shape.value_width),
          Matrix<S>(rows, batch * shape.hidden_width),
          Matrix<S>(rows, batch * shape.hidden_width),
          Matrix<S>(channels, batch * shape.hidden_width),
          Matrix<S>(rows, batch),
          Matrix<S>(norm_rows, norm_columns),
          Matrix<S>(norm_rows, norm_columns)};
}

template <Scalar S>
WeightFeatures<S> WeightFeatures<S>::zero(const BlockShape& shape, Index channels, Index batch) {
  WeightFeatures features = uninitialized(shape, channels, batch);
  for_each_tensor(features, [](const char*, Matrix<S>& tensor) { tensor.setZero(); });
  return features;
}

template <Scalar S>
bool WeightFeatures<S>::operator==(const WeightFeatures& other) const {
  // With equal sizes consistent tensors have equal shapes, which Eigen's == needs.
  return shape == other.shape && channels == other.channels && batch == other.batch && query == other.query &&
         key == other.key && value == other.value && output == other.output && up == other.up &&
         down == other.down && up_bias == other.up_bias && down_bias == other.down_bias &&
         norm_gain == other.norm_gain && norm_bias == other.norm_bias;
}

template <Scalar S>
void require_consistent(const WeightFeatures<S>& features) {
  features.shape.validate();
  const BlockShape& shape = features.shape;
  const Index rows = features.channels * shape.model_width;
  const Index heads = features.batch * shape.heads;
  const auto require = [](const char* name, const Matrix<S>& tensor, Index want_rows, Index want_cols) {
    if (tensor.rows() == want_rows && tensor.cols() == want_cols) return;
    throw ShapeError(std::string(name) + " is " + describe(tensor.rows(), tensor.cols()) + ", expected " +
                     describe(want_rows, want_cols));
  };
  require("Q", features.query, rows, heads * shape.key_width);
  require("K", features.key, rows, heads * shape.key_width);
  require("V", features.value, rows, heads * shape.value_width);
  require("O", features.output, rows, heads * shape.value_width);
  require("A", features.up, rows, features.batch * shape.hidden_width);
  require("B", features.down, rows, features.batch * shape.hidden_width);
  require("bA", features.up_bias, features.channels, features.batch * shape.hidden_width);
  require("bB", features.down_bias, rows, features.batch);
  const bool affine = features.shape.affine_norm;
  require("gamma", features.norm_gain, affine ? rows : 0, affine ? features.batch : 0);
  require("beta", features.norm_bias, affine ? rows : 0, affine ? features.batch : 0);
}

template <Scalar S>
void require_consistent(const WeightFeatures<S>& features, Index model_width, Index channels) {
  if (features.shape.model_width != model_width || features.channels != channels) {
    throw ShapeError("features of " + std::to_string(features.channels) + " channels and model width " +
                     std::to_string(features.shape.model_width) + ", expected " + std::to_string(channels) +
                     " and " + std::to_string(model_width));
  }
  if (features.shape.affine_norm) throw ShapeError("this layer does not read the gain and bias of a norm");
  require_consistent(features);
}

template <Scalar S>
WeightFeatures<S> checkpoints(const WeightFeatures<S>& features, Index first, Index count) {
  require_consistent(features);
  if (first < 0 || count < 0 || first + count > features.batch) throw ShapeError("no such checkpoints");
  auto part = WeightFeatures<S>::uninitialized(features.shape, features.channels, count);
  for_each_tensor_pair(part, features, [&](Matrix<S>& to, const Matrix<S>& from) {
    const Index columns = from.cols() / std::max<Index>(features.batch, 1);
    to = from.middleCols(first * columns, count * columns);
  });
  return part;
}

template <Scalar S>
void set_checkpoints(WeightFeatures<S>& features, Index first, const WeightFeatures<S>& part) {
  require_consistent(features);
  require_consistent(part);
  if (!(part.shape == features.shape) || part.channels != features.channels || first < 0 ||
      first + part.batch > features.batch)
    throw ShapeError("checkpoints of another shape, or too many");
  for_each_tensor_pair(features, part, [&](Matrix<S>& to, const Matrix<S>& from) {
    const Index columns = to.cols() / std::max<Index>(features.batch, 1);
    to.middleCols(first * columns, from.cols()) = from;
  });
}

template <Scalar To, Scalar From>
WeightFeatures<To> cast(const WeightFeatures<From>& features) {
  const auto tensor = [](const Matrix<From>& m) {
    return Matrix<To>(m.unaryExpr([](const From& value) { return cast_scalar<To, From>(value); }));
  };
  return {features.shape,
          features.channels,
          features.batch,
          tensor(features.query),
          tensor(features.key),
          tensor(features.value),
          tensor(features.output),
          tensor(features.up),
          tensor(features.down),
          tensor(features.up_bias),
          tensor(features.down_bias),
          tensor(features.norm_gain),
          tensor(features.norm_bias)};
}

template struct WeightFeatures<float>;
template struct WeightFeatures<double>;
template struct WeightFeatures<Float50>;
template struct WeightFeatures<Rational>;

template void require_consistent(const WeightFeatures<float>&);
template void require_consistent(const WeightFeatures<double>&);
template void require_consistent(const WeightFeatures<Float50>&);
template void require_consistent(const WeightFeatures<Rational>&);
template void require_consistent(const WeightFeatures<float>&, Index, Index);
template void require_consistent(const WeightFeatures<double>&, Index, Index);
template void require_consistent(const WeightFeatures<Float50>&, Index, Index);
template void require_consistent(const WeightFeatures<Rational>&, Index, Index);

template WeightFeatures<float> checkpoints(const WeightFeatures<float>&, Index, Index);
template WeightFeatures<double> checkpoints(const WeightFeatures<double>&, Index, Index);
template WeightFeatures<Float50> checkpoints(const WeightFeatures<Float50>&, Index, Index);
template WeightFeatures<Rational> checkpoints(const WeightFeatures<Rational>&, Index, Index);
template void set_checkpoints(WeightFeatures<float>&, Index, const WeightFeatures<float>&);
template void set_checkpoints(WeightFeatures<double>&, Index, const WeightFeatures<double>&);
template void set_checkpoints(WeightFeatures<Float50>&, Index, const WeightFeatures<Float50>&);
template void set_checkpoints(WeightFeatures<Rational>&, Index, const WeightFeatures<Rational>&);

template WeightFeatures<float> cast(const WeightFeatures<double>&);
template WeightFeatures<double> cast(const WeightFeatures<float>&);
template WeightFeatures<double> cast(const WeightFeatures<double>&);
template WeightFeatures<double> cast(const WeightFeatures<Float50>&);
template WeightFeatures<double> cast(const WeightFeatures<Rational>&);
template WeightFeatures<Float50> cast(const WeightFeatures<double>&);
template WeightFeatures<Rational> cast(const WeightFeatures<double>&);

}  // namespace attnsym
