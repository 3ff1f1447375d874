// The collisions of the published layers [N13], and the layer that sees through them.
#include "nfn/head_invariant.hpp"

#include <gtest/gtest.h>

#include "nfn/activation.hpp"
#include "nfn/equivariant_linear.hpp"
#include "nfn/invariant.hpp"
#include "nfn/sequential.hpp"
#include "nfn/testing/generators.hpp"
#include "symmetry/errors.hpp"
#include "tests/nfn/random_features.hpp"

namespace attnsym::testing {
namespace {

constexpr Index d = 4;
const BlockShape shape{d, 2, 2, 2, 3};
using Weights = WeightFeatures<Rational>;

// The blocks of two heads trade places.
void swap_heads(Matrix<Rational>& tensor) {
  const Index width = tensor.cols() / 2;
  const Matrix<Rational> first = tensor.leftCols(width);
  tensor.leftCols(width) = tensor.rightCols(width).eval();
  tensor.rightCols(width) = first;
}

// (i) The same QK parts and VO parts, paired the other way.
Weights with_vo_exchanged(Weights weights) {
  swap_heads(weights.value);
  swap_heads(weights.output);
  return weights;
}

// (ii) Heads with circuits M and -M, and heads with circuit 0: attention that looks, and plain averages.
Weights with_opposite_heads(Weights weights) {
  weights.query.rightCols(2) = -weights.query.leftCols(2).eval();
  weights.key.rightCols(2) = weights.key.leftCols(2).eval();
  return weights;
}
Weights with_blind_heads(Weights weights) {
  weights.query.setZero();
  weights.key.setZero();
  return weights;
}

// A published network: E, activation, E, activation, I, with random parameters.
auto published_network(std::uint64_t seed) {
  Sequential network(EquivariantLinear<Rational>(d, 1, 2), PerceptronRelu<Rational>(),
                     EquivariantLinear<Rational>(d, 2, 2), PerceptronRelu<Rational>(),
                     InvariantLayer<Rational>(d, 2, 3));
  randomize<Rational>(network, seed);
  return network;
}

HeadInvariantLayer<Rational> head_layer(std::uint64_t seed) {
  HeadInvariantLayer<Rational> layer(d, 1, 3, 2);
  randomize<Rational>(layer, seed);
  return layer;
}

void expect_collision(const Weights& a, const Weights& b) {
  ASSERT_FALSE(a == b);
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const auto network = published_network(seed);
    EXPECT_EQ(network(a), network(b));
  }
}

void expect_separated(const Weights& a, const Weights& b) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) EXPECT_NE(head_layer(seed)(a), head_layer(seed)(b));
}

TEST(Collision, ExchangedValueOutputParts) {
  const Weights weights = random_features<Rational>(shape, 1, 1, 1);
  expect_collision(weights, with_vo_exchanged(weights));
  expect_separated(weights, with_vo_exchanged(weights));
}

TEST(Collision, OppositeHeadsAgainstBlindHeads) {
  const Weights weights = random_features<Rational>(shape, 1, 1, 2);
  expect_collision(with_opposite_heads(weights), with_blind_heads(weights));
  expect_separated(with_opposite_heads(weights), with_blind_heads(weights));
}

// Twin: the published network does tell apart weights that differ elsewhere.
TEST(Collision, ThePublishedNetworkIsNotConstant) {
  const Weights weights = random_features<Rational>(shape, 1, 1, 3);
  Weights other = weights;
  other.query(0, 0) += 1;
  EXPECT_NE(published_network(1)(weights), published_network(1)(other));
}

// Rows of V O that sum to zero are what LayerNorm leaves of it; the squared norms still tell heads apart.
TEST(HeadInvariantLayer, SeesCentredOutputs) {
  Weights weights = random_features<Rational>(shape, 1, 1, 4);
  const RowVector<Rational> means = weights.output.colwise().mean();
  weights.output.rowwise() -= means;
  expect_separated(weights, with_vo_exchanged(weights));
}

TEST(HeadInvariantLayer, IsExactlyInvariant) {
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("H(g w) == H(w)", [&] {
    const BlockShape drawn = *block_shape();
    const auto weights = *features<Rational>(drawn, *whole_range(1, 2), *whole_range(1, 2));
    const auto g = *block_element<Rational>(drawn);
    trivial.note(g);
    HeadInvariantLayer<Rational> layer(drawn.model_width, weights.channels, 2, 2);
    randomize<Rational>(layer, *rc::gen::arbitrary<std::uint64_t>());
    RC_ASSERT(layer(act(g, weights)) == layer(weights));
  }));
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

TEST(HeadInvariantLayer, CountsItsParameters) {
  HeadInvariantLayer<float> layer(5, 3, 7, 2);
  EXPECT_EQ(parameter_count(layer.parameters()), (HeadInvariantLayer<float>::parameter_count(5, 3, 7, 2)));
}

TEST(HeadInvariantLayer, RefusesWhatDoesNotFit) {
  EXPECT_THROW(HeadInvariantLayer<double>(2, 1, 0, 1), ShapeError);
  EXPECT_THROW(HeadInvariantLayer<double>(2, 1, 1, 1)(random_features<double>(shape, 1, 1, 1)), ShapeError);
}

}  // namespace
}  // namespace attnsym::testing
