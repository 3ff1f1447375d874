#include "nfn/left_multiplier.hpp"

#include <array>

#include "nfn/head_blocks.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"

namespace attnsym {
namespace {

constexpr std::array<const char*, 3> names{"Q", "K", "V"};

template <class Features>
auto multiplied_tensors(Features& features) {
  return std::array{&features.query, &features.key, &features.value};
}

Index head_width(const BlockShape& shape, Index tensor) {
  return tensor == 2 ? shape.value_width : shape.key_width;
}

// M of one channel of one checkpoint.
template <class S>
Matrix<S> circuit_of(const WeightFeatures<S>& features, Index c, Index n) {
  return multiply_nt(heads_of(features.query, features.shape, c, n, features.shape.key_width),
                     heads_of(features.key, features.shape, c, n, features.shape.key_width));
}

}  // namespace

template <Scalar S>
LeftMultiplier<S>::LeftMultiplier(Index model_width, Index channels) : width_(model_width) {
  if (std::min(model_width, channels) < 1) {
    throw ShapeError("a multiplier needs a positive model width and channels");
  }
  factors_ = Matrix<S>::Zero(3 * channels, 2);
}

template <Scalar S>
std::vector<ParameterView<S>> LeftMultiplier<S>::parameters() {
  const Index channels = factors_.rows() / 3;
  ParameterTable<S> table(1, 1, channels);
  for (Index t = 0; t < 3; ++t) {
    table.add(factors_, t * channels, false, {{0, false}, {0, false}},
              {std::string("s") + names[t], std::string("t") + names[t]});
  }
  return table.views();
}

template <Scalar S>
Matrix<S> LeftMultiplier<S>::multiplier(const Matrix<S>& circuit, Index tensor, Index channel) const {
  const Index row = tensor * (factors_.rows() / 3) + channel;
  return factors_(row, 0) * circuit + factors_(row, 1) * circuit.transpose();
}

template <Scalar S>
WeightFeatures<S> LeftMultiplier<S>::operator()(const WeightFeatures<S>& input) const {
  require_consistent(input, width_, factors_.rows() / 3);
  WeightFeatures<S> result = input;
  const auto from = multiplied_tensors(input);
  const auto to = multiplied_tensors(result);
  for_each_module(input, [&](Index c, Index n) {
    const Matrix<S> circuit = circuit_of(input, c, n);
    for (Index t = 0; t < 3; ++t) {
      const Index w = head_width(input.shape, t);
      add_product(heads_of(*to[t], input.shape, c, n, w), multiplier(circuit, t, c),
                  heads_of(*from[t], input.shape, c, n, w));
    }
  });
  return result;
}

template <Scalar S>
Gradients<LeftMultiplier<S>> LeftMultiplier<S>::backward(const WeightFeatures<S>& input,
                                                         const WeightFeatures<S>& cotangent) const {
  const Index channels = factors_.rows() / 3;
  require_consistent(input, width_, channels);
  require_consistent(cotangent, width_, channels);
  if (!(input.shape == cotangent.shape) || input.batch != cotangent.batch) {
    throw ShapeError("the cotangent of a multiplier must have the shape of its input");
  }
  const BlockShape& shape = input.shape;
  Gradients<LeftMultiplier> gradients{cotangent, LeftMultiplier(width_, channels)};
  const auto at = multiplied_tensors(input);
  const auto by = multiplied_tensors(cotangent);
  const auto result = multiplied_tensors(gradients.input);
  for_each_module(input, [&](Index c, Index n) {
    const Matrix<S> circuit = circuit_of(input, c, n);
    Matrix<S> by_circuit = Matrix<S>::Zero(width_, width_);
    for (Index t = 0; t < 3; ++t) {
      const Index w = head_width(shape, t);
      const auto cotangent_heads = heads_of(*by[t], shape, c, n, w);
      const Matrix<S> by_multiplier = multiply_nt(cotangent_heads, heads_of(*at[t], shape, c, n, w));
      gradients.parameters.factors_(t * channels + c, 0) += by_multiplier.cwiseProduct(circuit).sum();
      gradients.parameters.factors_(t * channels + c, 1) +=
          by_multiplier.cwiseProduct(circuit.transpose()).sum();
      by_circuit += multiplier(by_multiplier, t, c);
      add_product_tn(heads_of(*result[t], shape, c, n, w), multiplier(circuit, t, c), cotangent_heads);
    }
    const auto q = heads_of(input.query, shape, c, n, shape.key_width);
    const auto k = heads_of(input.key, shape, c, n, shape.key_width);
    add_product(heads_of(gradients.input.query, shape, c, n, shape.key_width), by_circuit, k);
    add_product_tn(heads_of(gradients.input.key, shape, c, n, shape.key_width), by_circuit, q);
  });
  return gradients;
}

template class LeftMultiplier<float>;
template class LeftMultiplier<double>;
template class LeftMultiplier<Float50>;
template class LeftMultiplier<Rational>;

}  // namespace attnsym
