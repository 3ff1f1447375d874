// Derivatives by hand against finite differences. The layers are polynomials of degree two, of which central
// differences are exact: over the rationals with ==, at 50 digits up to its rounding.
#include <gtest/gtest.h>

#include "nfn/equivariant_linear.hpp"
#include "nfn/invariant.hpp"
#include "tests/nfn/random_features.hpp"

namespace attnsym::testing {
namespace {

const BlockShape shape{3, 2, 2, 1, 2};

template <Scalar S>
S inner(const Matrix<S>& a, const Matrix<S>& b) {
  return a.cwiseProduct(b).sum();
}

template <Scalar S>
S inner(const WeightFeatures<S>& a, const WeightFeatures<S>& b) {
  return inner<S>(a.query, b.query) + inner<S>(a.key, b.key) + inner<S>(a.value, b.value) +
         inner<S>(a.output, b.output) + inner<S>(a.up, b.up) + inner<S>(a.down, b.down) +
         inner<S>(a.up_bias, b.up_bias) + inner<S>(a.down_bias, b.down_bias);
}

// The derivative of value() by `variable`, exact for polynomials of degree two.
template <Scalar S, class Value>
S central_difference(S& variable, Value value) {
  const S step = S(1) / S(16);
  const S before = variable;
  variable = before + step;
  const S above = value();
  variable = before - step;
  const S below = value();
  variable = before;
  return (above - below) / (2 * step);
}

template <Scalar S>
void expect_same(const S& by_hand, const S& by_difference, const std::string& where) {
  const S size = abs(by_hand) + S(1);
  EXPECT_LE(S(abs(by_hand - by_difference)), S(100) * tolerance<S>() * size) << where;
}

// Every derivative by input and parameters.
template <Scalar S, class Layer, class Cotangent>
void expect_gradients(Layer layer, const Cotangent& cotangent) {
  randomize<S>(layer, 1);
  auto input = random_features<S>(shape, 2, 2, 2);
  auto gradients = layer.backward(input, cotangent);
  const auto value = [&] { return inner(cotangent, layer(input)); };
  const auto by = gradients.parameters.parameters();
  const auto parameters = layer.parameters();
  for (std::size_t v = 0; v < by.size(); ++v) {
    for (Index i = 0; i < by[v].size(); ++i) {
      expect_same<S>(by[v](i), central_difference<S>(parameters[v](i), value), by[v].name);
    }
  }
  for_each_tensor(input, [&](std::string_view name, Matrix<S>& tensor) {
    for_each_tensor(gradients.input, [&](std::string_view other, const Matrix<S>& gradient) {
      for (Index i = 0; name == other && i < tensor.size(); ++i) {
        expect_same<S>(gradient.data()[i], central_difference<S>(tensor.data()[i], value), std::string(name));
      }
    });
  });
}

template <class S>
class Gradient : public ::testing::Test {};
using Scalars = ::testing::Types<Rational, Float50>;
TYPED_TEST_SUITE(Gradient, Scalars);

TYPED_TEST(Gradient, OfTheEquivariantLayer) {
  using S = TypeParam;
  expect_gradients<S>(EquivariantLinear<S>(3, 2, 2), random_features<S>(shape, 2, 2, 3));
}

TYPED_TEST(Gradient, OfTheInvariantLayer) {
  using S = TypeParam;
  expect_gradients<S>(InvariantLayer<S>(3, 2, 3), Matrix<S>(fixed_probe<S>(3, 2, 4)));
}

// Double and float follow the rationals.
template <class S>
class RoundedGradient : public ::testing::Test {};
using Rounded = ::testing::Types<float, double>;
TYPED_TEST_SUITE(RoundedGradient, Rounded);

TYPED_TEST(RoundedGradient, FollowsTheRationals) {
  using S = TypeParam;
  EquivariantLinear<S> layer(3, 2, 2);
  EquivariantLinear<Rational> exact(3, 2, 2);
  randomize<S>(layer, 1);
  randomize<Rational>(exact, 1);
  auto rounded = layer.backward(random_features<S>(shape, 2, 2, 2), random_features<S>(shape, 2, 2, 3));
  auto wanted =
      exact.backward(random_features<Rational>(shape, 2, 2, 2), random_features<Rational>(shape, 2, 2, 3));
  const auto views = rounded.parameters.parameters();
  const auto wanted_views = wanted.parameters.parameters();
  for (std::size_t v = 0; v < views.size(); ++v) {
    for (Index i = 0; i < views[v].size(); ++i) {
      const double want = wanted_views[v](i).template convert_to<double>();
      EXPECT_NEAR(static_cast<double>(views[v](i)), want,
                  static_cast<double>(tolerance<S>()) * (1 + std::abs(want)))
          << views[v].name;
    }
  }
}

}  // namespace
}  // namespace attnsym::testing
