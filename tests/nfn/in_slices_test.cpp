// A batch in slices is the batch at once: over the rationals exactly, outputs and all derivatives.
#include "nfn/in_slices.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "nfn/activation.hpp"
#include "nfn/equivariant_linear.hpp"
#include "nfn/invariant.hpp"
#include "nfn/left_multiplier.hpp"
#include "nfn/sequential.hpp"
#include "tests/nfn/random_features.hpp"

namespace attnsym::testing {
namespace {

constexpr Index d = 3;
constexpr Index batch = 5;
const BlockShape shape{d, 2, 2, 1, 2};

// With a layer that sums its derivatives the general way.
auto network() {
  Sequential layers(LeftMultiplier<Rational>(d, 1), EquivariantLinear<Rational>(d, 1, 2),
                    PerceptronRelu<Rational>(), InvariantLayer<Rational>(d, 2, 3));
  randomize<Rational>(layers, 1);
  return layers;
}

const auto weights = random_features<Rational>(shape, 1, batch, 2);
const Matrix<Rational> cotangent = fixed_probe<Rational>(3, batch, 3);

template <class A, class B>
void expect_equal_parameters(A a, B b) {
  const auto mine = a.parameters();
  const auto others = b.parameters();
  ASSERT_EQ(mine.size(), others.size());
  for (std::size_t v = 0; v < mine.size(); ++v) {
    EXPECT_EQ(mine[v].name, others[v].name);
    for (Index i = 0; i < mine[v].size(); ++i) EXPECT_EQ(mine[v](i), others[v](i)) << mine[v].name;
  }
}

// Gains and biases of inner norms go with their checkpoints.
TEST(Checkpoints, AreTakenOutAndPutBackWithAllTheirTensors) {
  BlockShape affine = shape;
  affine.affine_norm = true;
  const auto all = random_features<Rational>(affine, 2, batch, 4);
  auto put_together = WeightFeatures<Rational>::zero(affine, 2, batch);
  for (const Index first : {0, 2, 4}) {
    const Index count = std::min<Index>(2, batch - first);
    const auto part = checkpoints(all, first, count);
    EXPECT_EQ(part.norm_gain, Matrix<Rational>(all.norm_gain.middleCols(first, count)));
    set_checkpoints(put_together, first, part);
  }
  EXPECT_EQ(put_together, all);
  add(put_together, all);
  EXPECT_EQ(put_together.norm_bias, Matrix<Rational>(all.norm_bias * Rational(2)));
}

class Slices : public ::testing::TestWithParam<Index> {};

TEST_P(Slices, ChangeNothing) {
  const InSlices sliced(network(), GetParam());
  EXPECT_EQ(sliced(weights), network()(weights));
  const auto whole = network().backward(weights, cotangent);
  const auto parts = sliced.backward(weights, cotangent);
  EXPECT_EQ(parts.input, whole.input);
  expect_equal_parameters(parts.parameters, whole.parameters);
}

TEST_P(Slices, KnowWhichCheckpointsTheyAre) {
  const InSlices sliced(network(), GetParam());
  Index next = 0;
  const auto parts = sliced.differentiate(weights, [&](const Matrix<Rational>& outputs, Index first) {
    EXPECT_EQ(first, next);
    EXPECT_LE(outputs.cols(), GetParam());
    EXPECT_EQ(outputs, Matrix<Rational>(network()(weights).middleCols(first, outputs.cols())));
    next += outputs.cols();
    return Matrix<Rational>(cotangent.middleCols(first, outputs.cols()));
  });
  EXPECT_EQ(next, batch);
  EXPECT_EQ(parts.input, network().backward(weights, cotangent).input);
}

INSTANTIATE_TEST_SUITE_P(OfAllLengths, Slices, ::testing::Values(1, 2, 5, 8));

TEST(InSlices, RefusesWhatDoesNotFit) {
  EXPECT_THROW(InSlices(network(), 0), ShapeError);
  const InSlices sliced(network());
  EXPECT_THROW(sliced(random_features<Rational>(shape, 2, 1, 1)), ShapeError);
}

// The derivatives of two batches, one added to the other, are those of both together.
TEST(Accumulate, AddsToWhatIsThere) {
  const auto layers = network();
  auto sum = layers.backward(checkpoints(weights, 0, 2), Matrix<Rational>(cotangent.leftCols(2)));
  const auto by_rest = layers.accumulate(checkpoints(weights, 2, 3), cotangent.rightCols(3), sum.parameters);
  const auto whole = layers.backward(weights, cotangent);
  EXPECT_EQ(by_rest, checkpoints(whole.input, 2, 3));
  expect_equal_parameters(sum.parameters, whole.parameters);
}

TEST(Accumulate, OfLowRank) {
  auto layer = EquivariantLinear<Rational>::low_rank(d, 1, 1, 2);
  randomize<Rational>(layer, 4);
  auto sum = layer.backward(weights, weights).parameters;
  layer.accumulate(weights, weights, sum);
  auto once = layer.backward(weights, weights).parameters;
  for (auto* matrix : parameter_matrices(once.parameters())) *matrix *= Rational(2);
  expect_equal_parameters(sum, once);
}

TEST(Accumulate, RefusesSumsOfAnotherShape) {
  const EquivariantLinear<Rational> layer(d, 1, 1);
  auto low = EquivariantLinear<Rational>::low_rank(d, 1, 1, 2);
  EquivariantLinear<Rational> wider(d, 2, 1);
  EXPECT_THROW(layer.accumulate(weights, weights, low), ShapeError);
  EXPECT_THROW(layer.accumulate(weights, weights, wider), ShapeError);
  InvariantLayer<Rational> taller(d, 1, 2);
  EXPECT_THROW((InvariantLayer<Rational>(d, 1, 3).accumulate(weights, cotangent, taller)), ShapeError);
}

TEST(ZeroLike, IsTheLayerWithoutItsParameters) {
  auto zero = zero_like(network());
  for (const auto* matrix : parameter_matrices(zero.parameters())) EXPECT_TRUE(matrix->isZero(0));
}

TEST(Checkpoints, AreTakenOutAndPutBack) {
  auto copy = WeightFeatures<Rational>::zero(shape, 1, batch);
  set_checkpoints(copy, 0, checkpoints(weights, 0, 3));
  EXPECT_FALSE(copy == weights);
  set_checkpoints(copy, 3, checkpoints(weights, 3, 2));
  EXPECT_EQ(copy, weights);
  EXPECT_EQ(checkpoints(weights, 5, 0).batch, 0);
}

TEST(Checkpoints, HaveToBeThere) {
  auto copy = weights;
  EXPECT_THROW(checkpoints(weights, 3, 3), ShapeError);
  EXPECT_THROW(checkpoints(weights, -1, 2), ShapeError);
  EXPECT_THROW(set_checkpoints(copy, 1, weights), ShapeError);
  EXPECT_THROW(set_checkpoints(copy, 0, random_features<Rational>({d, 1, 2, 1, 2}, 1, 1, 1)), ShapeError);
}

}  // namespace
}  // namespace attnsym::testing
