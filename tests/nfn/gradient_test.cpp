// Derivatives by hand against finite differences. The layers are polynomials of degree two, of which central
// differences are exact: over the rationals with ==, at 50 digits up to its rounding.
#include <gtest/gtest.h>

#include "nfn/block_invariant.hpp"
#include "nfn/equivariant_linear.hpp"
#include "nfn/invariant.hpp"
#include "tests/nfn/expect_gradients.hpp"

namespace attnsym::testing {
namespace {

const BlockShape shape{3, 2, 2, 1, 2};

template <class S>
class Gradient : public ::testing::Test {};
using Scalars = ::testing::Types<Rational, Float50>;
TYPED_TEST_SUITE(Gradient, Scalars);

TYPED_TEST(Gradient, OfTheEquivariantLayer) {
  using S = TypeParam;
  expect_gradients<S>(EquivariantLinear<S>(3, 2, 2), random_features<S>(shape, 2, 2, 2),
                      random_features<S>(shape, 2, 2, 3));
}

TEST(Gradient50, OfTheLayerOfLowRank) {
  using S = Float50;
  expect_gradients<S>(EquivariantLinear<S>::low_rank(3, 2, 2, 2), random_features<S>(shape, 2, 2, 2),
                      random_features<S>(shape, 2, 2, 3));
}

TYPED_TEST(Gradient, OfTheInvariantLayer) {
  using S = TypeParam;
  expect_gradients<S>(InvariantLayer<S>(3, 2, 3), random_features<S>(shape, 2, 2, 2),
                      Matrix<S>(fixed_probe<S>(3, 2, 4)));
}

// Of degree four in the weights: central differences are exact only up to the square of the step.
TEST(Gradient50, OfBothInvariantLayers) {
  using S = Float50;
  expect_gradients<S>(BlockInvariant<S>(3, 2, 3, 2), random_features<S>(shape, 2, 2, 2),
                      Matrix<S>(fixed_probe<S>(3, 2, 4)), {S("1e-14"), S("1e-24")});
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
