#pragma once

#include <gtest/gtest.h>

#include "symmetry/attention_weights.hpp"
#include "tests/nfn/random_features.hpp"

/// Derivatives by hand against central differences.
namespace attnsym::testing {

template <Scalar S>
S inner(const Matrix<S>& a, const Matrix<S>& b) {
  return a.cwiseProduct(b).sum();
}

template <Scalar S>
S inner(const WeightFeatures<S>& a, const WeightFeatures<S>& b) {
  return inner<S>(a.query, b.query) + inner<S>(a.key, b.key) + inner<S>(a.value, b.value) +
         inner<S>(a.output, b.output) + inner<S>(a.up, b.up) + inner<S>(a.down, b.down) +
         inner<S>(a.up_bias, b.up_bias) + inner<S>(a.down_bias, b.down_bias) +
         inner<S>(a.norm_gain, b.norm_gain) + inner<S>(a.norm_bias, b.norm_bias);
}

/// Of modules without biases.
template <Scalar S>
S inner(const AttentionWeights<S>& a, const AttentionWeights<S>& b) {
  S sum(0);
  for (std::size_t j = 0; j < a.groups.size(); ++j) {
    sum += inner<S>(a.groups[j].key, b.groups[j].key) + inner<S>(a.groups[j].value, b.groups[j].value);
    for (std::size_t i = 0; i < a.groups[j].readers.size(); ++i) {
      const QueryHead<S>& x = a.groups[j].readers[i];
      const QueryHead<S>& y = b.groups[j].readers[i];
      sum += inner<S>(x.query, y.query) + inner<S>(x.output, y.output);
    }
  }
  return sum;
}

/// The derivative of value() by `variable`. Exact for polynomials of degree two at any step; in general the
/// error is of the order of the step squared.
template <Scalar S, class Value>
S central_difference(S& variable, const S& step, Value value) {
  const S before = variable;
  variable = before + step;
  const S above = value();
  variable = before - step;
  const S below = value();
  variable = before;
  return (above - below) / (2 * step);
}

template <class S, class Visit>
void for_each_matrix(WeightFeatures<S>& features, Visit visit) {
  for_each_tensor(features, [&](const char*, Matrix<S>& tensor) { visit(tensor); });
}

template <class S, class Visit>
void for_each_matrix(AttentionWeights<S>& weights, Visit visit) {
  for (KvGroup<S>& group : weights.groups) {
    visit(group.key);
    visit(group.value);
    for (QueryHead<S>& reader : group.readers) {
      visit(reader.query);
      visit(reader.output);
    }
  }
}

template <class S, class Visit>
void for_each_matrix(Matrix<S>& matrix, Visit visit) {
  visit(matrix);
}

/// How derivatives are compared.
template <Scalar S>
struct DifferenceOptions {
  S step = S(1) / S(16);
  S limit = S(100) * tolerance<S>();  ///< relative to 1 + the derivative
};

/// Compares every derivative by input and parameters with a difference. Parameters are given fixed
/// pseudo-random values first.
template <Scalar S, class Layer, class Input, class Cotangent>
void expect_gradients(Layer layer, Input input, const Cotangent& cotangent,
                      const DifferenceOptions<S>& options = {}) {
  randomize<S>(layer, 1);
  auto gradients = layer.backward(input, cotangent);
  const auto expect_same = [&](const S& by_hand, S& variable, const std::string& where) {
    const S difference =
        central_difference<S>(variable, options.step, [&] { return inner(cotangent, layer(input)); });
    EXPECT_LE(S(abs(by_hand - difference)), options.limit * (S(1) + S(abs(by_hand)))) << where;
  };
  const auto by = gradients.parameters.parameters();
  const auto parameters = layer.parameters();
  for (std::size_t v = 0; v < by.size(); ++v) {
    for (Index i = 0; i < by[v].size(); ++i) expect_same(by[v](i), parameters[v](i), by[v].name);
  }
  std::vector<const Matrix<S>*> by_input;
  for_each_matrix(gradients.input, [&](const Matrix<S>& tensor) { by_input.push_back(&tensor); });
  std::size_t place = 0;
  for_each_matrix(input, [&](Matrix<S>& tensor) {
    const Matrix<S>& gradient = *by_input[place++];
    for (Index i = 0; i < tensor.size(); ++i) {
      expect_same(gradient.data()[i], tensor.data()[i], "input " + std::to_string(place));
    }
  });
}

}  // namespace attnsym::testing
