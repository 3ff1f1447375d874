// The small layers: activation, norm, composition; derivatives of these and of the per-head layer.
#include <gtest/gtest.h>

#include "nfn/activation.hpp"
#include "nfn/channel_norm.hpp"
#include "nfn/equivariant_linear.hpp"
#include "nfn/head_invariant.hpp"
#include "nfn/invariant.hpp"
#include "nfn/left_multiplier.hpp"
#include "nfn/scalar_gate.hpp"
#include "nfn/sequential.hpp"
#include "nfn/testing/block_group.hpp"
#include "symmetry/errors.hpp"
#include "tests/nfn/expect_gradients.hpp"
#include "verify/testing/expect_equivariant.hpp"

namespace attnsym::testing {
namespace {

const BlockShape shape{3, 2, 2, 1, 2};

// At 50 digits a step of 1e-14 leaves an error near 1e-28 of what is not a polynomial of degree two.
const DifferenceOptions<Float50> smooth{Float50("1e-14"), Float50("1e-24")};

TEST(PerceptronRelu, LeavesAttentionAloneAndCommutes) {
  const auto relu = [](const auto& w) {
    return PerceptronRelu<typename std::decay_t<decltype(w.query)>::Scalar>()(w);
  };
  EXPECT_TRUE(expect_equivariant(relu, BlockGroup{shape, 2, 2}));
  const auto weights = random_features<double>(shape, 1, 1, 1);
  const auto result = relu(weights);
  EXPECT_EQ(result.query, weights.query);
  EXPECT_EQ(result.output, weights.output);
  EXPECT_EQ(result.down_bias, Matrix<double>(weights.down_bias.cwiseMax(0)));
}

TEST(PerceptronRelu, HasTheDerivativeOfItsBranch) {
  // Entries are multiples of 1/8 and the step is 1/16: no difference crosses 0 except at 0 itself.
  auto weights = random_features<Rational>(shape, 1, 1, 2);
  for_each_tensor(weights, [](const char*, Matrix<Rational>& tensor) {
    tensor = tensor.unaryExpr([](const Rational& x) { return x == 0 ? Rational(1) : x; }).eval();
  });
  expect_gradients<Rational>(PerceptronRelu<Rational>(), weights, random_features<Rational>(shape, 1, 1, 3));
}

TEST(ChannelNorm, CentresAndScales) {
  const ChannelNorm<double> norm(4);
  const Matrix<double> result = norm(fixed_probe<double>(4, 3, 1));
  EXPECT_LT(result.colwise().sum().cwiseAbs().maxCoeff(), 1e-12);
  EXPECT_LT((result.colwise().squaredNorm().array() - 4).abs().maxCoeff(), 1e-2);
  EXPECT_THROW(norm(fixed_probe<double>(3, 3, 1)), ShapeError);
}

TEST(Gradient, OfTheNorm) {
  expect_gradients<Float50>(ChannelNorm<Float50>(4), Matrix<Float50>(fixed_probe<Float50>(4, 3, 1)),
                            Matrix<Float50>(fixed_probe<Float50>(4, 3, 2)), smooth);
}

TEST(Gradient, OfThePerHeadLayer) {
  expect_gradients<Float50>(HeadInvariantLayer<Float50>(3, 2, 2, 2), random_features<Float50>(shape, 2, 2, 4),
                            Matrix<Float50>(fixed_probe<Float50>(2, 2, 5)), smooth);
}

TEST(Gradient, OfTheScalarGate) {
  expect_gradients<Float50>(ScalarGate<Float50>(3, 2), random_features<Float50>(shape, 2, 2, 4),
                            random_features<Float50>(shape, 2, 2, 5), smooth);
}

TEST(Gradient, OfTheLeftMultiplier) {
  expect_gradients<Float50>(LeftMultiplier<Float50>(3, 2), random_features<Float50>(shape, 2, 2, 4),
                            random_features<Float50>(shape, 2, 2, 5), smooth);
}

// Over the rationals, with random parameters and drawn weights and elements.
template <template <class> class Layer>
void expect_exactly_equivariant() {
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("L(g w) == g L(w)", [&] {
    const BlockShape drawn = *block_shape();
    const auto weights = *features<Rational>(drawn, *whole_range(1, 2), *whole_range(1, 2));
    const auto g = *block_element<Rational>(drawn);
    trivial.note(g);
    Layer<Rational> layer(drawn.model_width, weights.channels);
    randomize<Rational>(layer, *rc::gen::arbitrary<std::uint64_t>());
    RC_ASSERT(layer(act(g, weights)) == act(g, layer(weights)));
  }));
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

TEST(ScalarGate, IsExactlyEquivariant) { expect_exactly_equivariant<ScalarGate>(); }
TEST(LeftMultiplier, IsExactlyEquivariant) { expect_exactly_equivariant<LeftMultiplier>(); }

TEST(LeftMultiplier, IsTheIdentityWithoutParameters) {
  const auto weights = random_features<double>(shape, 2, 2, 8);
  EXPECT_EQ(LeftMultiplier<double>(3, 2)(weights), weights);
  EXPECT_THROW(LeftMultiplier<double>(3, 1)(weights), ShapeError);
  EXPECT_THROW(ScalarGate<double>(2, 2)(weights), ShapeError);
}

// What E cannot do: the gate scales Q by an invariant, so its output is of degree three in the weights.
TEST(ScalarGate, ActsOnQueries) {
  ScalarGate<double> gate(3, 1);
  gate.parameters()[0](0) = 1;  // SQ1: Q times the first entry of Q K^T
  const auto weights = random_features<double>(shape, 1, 1, 9);
  const double first = weights.query.row(0).dot(weights.key.row(0));
  EXPECT_TRUE(is_close(gate(weights).query, Matrix<double>(first * weights.query)));
  EXPECT_TRUE(gate(weights).key.isZero());
}

TEST(Gradient, OfAWholeNetwork) {
  const Sequential network(EquivariantLinear<Float50>(3, 1, 2), PerceptronRelu<Float50>(),
                           InvariantLayer<Float50>(3, 2, 3), ChannelNorm<Float50>(3));
  expect_gradients<Float50>(network, random_features<Float50>(shape, 1, 2, 6),
                            Matrix<Float50>(fixed_probe<Float50>(3, 2, 7)), smooth);
}

TEST(Sequential, NumbersItsParameters) {
  Sequential network(EquivariantLinear<double>(3, 1, 2), PerceptronRelu<double>(),
                     InvariantLayer<double>(3, 2, 3));
  const auto views = network.parameters();
  EXPECT_EQ(views.front().name, "0.PhiQ");
  EXPECT_EQ(views.back().name, "2.F7");
  EXPECT_EQ(parameter_count(views), (EquivariantLinear<double>::parameter_count(3, 1, 2) +
                                     InvariantLayer<double>::parameter_count(3, 2, 3)));
}

}  // namespace
}  // namespace attnsym::testing
