// The layers for every kind of block: residual or not, with a gain and a bias in the inner norm or not.
#include "nfn/block_linear.hpp"

#include <gtest/gtest.h>

#include "nfn/equivariant_linear.hpp"
#include "nfn/invariant.hpp"
#include "nfn/scalar_gate.hpp"
#include "nfn/testing/block_group.hpp"
#include "symmetry/errors.hpp"
#include "tests/nfn/expect_gradients.hpp"
#include "verify/testing/expect_equivariant.hpp"

namespace attnsym::testing {
namespace {

BlockShape of_kind(BlockShape shape, bool residual, bool affine_norm) {
  shape.residual = residual;
  shape.affine_norm = affine_norm;
  return shape;
}

// Every kind of a shape.
std::vector<BlockShape> kinds_of(const BlockShape& shape) {
  return {of_kind(shape, false, false), of_kind(shape, false, true), of_kind(shape, true, false),
          of_kind(shape, true, true)};
}

const BlockShape shape{3, 2, 2, 1, 2};

// The closed forms of N13.
Index equivariant_count(const BlockShape& s, Index d, Index e) {
  const Index w = s.model_width;
  const Index square = w * w;
  const Index cube = square * w;
  if (s.residual && s.affine_norm) return d * e * (10 * cube + 35 * square + 14 * w + 2) + e * (5 * w + 1);
  if (s.residual) return d * e * (6 * cube + 19 * square + 10 * w + 2) + e * (3 * w + 1);
  if (s.affine_norm) return d * e * (2 * cube + 14 * square + 27 * w + 32) + e * (2 * w + 4);
  return EquivariantLinear<double>::parameter_count(w, d, e);
}

Index invariant_count(const BlockShape& s, Index d, Index e) {
  const Index w = s.model_width;
  if (s.residual) return d * e * (2 * w * w + (s.affine_norm ? 5 : 3) * w + 1) + e;
  if (s.affine_norm) return d * e * (w * w + 3 * w + 4) + e;
  return InvariantLayer<double>::parameter_count(w, d, e);
}

TEST(BlockLinear, HasTheSizeOfItsClosedForm) {
  for (const auto& [width, in, out] : std::vector<std::array<Index, 3>>{{32, 1, 10}, {2, 1, 1}, {5, 2, 7}}) {
    for (const BlockShape& kind : kinds_of({width, 1, 1, 1, 2})) {
      BlockLinear<double> layer(kind, in, out);
      EXPECT_EQ(parameter_count(layer.parameters()), equivariant_count(kind, in, out));
      EXPECT_EQ(BlockLinear<double>::parameter_count(kind, in, out), equivariant_count(kind, in, out));
      BlockPooling<double> pooling(kind, in, out);
      EXPECT_EQ(parameter_count(pooling.parameters()), invariant_count(kind, in, out));
      EXPECT_EQ(BlockPooling<double>::parameter_count(kind, in, out), invariant_count(kind, in, out));
    }
  }
}

// Drawn kind, weights and group element.
struct Case {
  BlockShape shape = of_kind(*block_shape(), *rc::gen::arbitrary<bool>(), *rc::gen::arbitrary<bool>());
  WeightFeatures<Rational> weights = *features<Rational>(shape, *whole_range(1, 2), *whole_range(1, 2));
  BlockElement<Rational> element = *block_element<Rational>(shape);
  std::uint64_t seed = *rc::gen::arbitrary<std::uint64_t>();
};

TEST(BlockLinear, CommutesExactlyWithTheGroup) {
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("L(g w) == g L(w)", [&] {
    const Case drawn;
    trivial.note(drawn.element);
    BlockLinear<Rational> layer(drawn.shape, drawn.weights.channels, *whole_range(1, 2));
    randomize<Rational>(layer, drawn.seed);
    RC_ASSERT(layer(act(drawn.element, drawn.weights)) == act(drawn.element, layer(drawn.weights)));
  }));
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

TEST(BlockPooling, IsExactlyInvariant) {
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("L(g w) == L(w)", [&] {
    const Case drawn;
    trivial.note(drawn.element);
    BlockPooling<Rational> layer(drawn.shape, drawn.weights.channels, *whole_range(1, 2));
    randomize<Rational>(layer, drawn.seed);
    RC_ASSERT(layer(act(drawn.element, drawn.weights)) == layer(drawn.weights));
  }));
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

// Twin: the layer of a residual block gives model coordinates names, and breaks P_D and nothing else.
TEST(BlockLinear, OfAResidualBlockBreaksTheModelOrder) {
  const auto layer = [](const auto& weights) {
    using S = typename std::decay_t<decltype(weights.query)>::Scalar;
    BlockLinear<S> residual(of_kind(shape, true, true), 1, 1);
    randomize<S>(residual, 1);
    auto input = weights;
    input.shape.residual = true;
    auto result = residual(input);
    result.shape.residual = false;
    return result;
  };
  EXPECT_TRUE(expect_not_equivariant(layer, BlockGroup{of_kind(shape, false, true)}, {"P_D"}));
  EXPECT_TRUE(expect_equivariant(
      [](const auto& weights) {
        using S = typename std::decay_t<decltype(weights.query)>::Scalar;
        BlockLinear<S> residual(of_kind(shape, true, true), 1, 1);
        randomize<S>(residual, 1);
        return residual(weights);
      },
      BlockGroup{of_kind(shape, true, true)}));
}

// Polynomials of degree two: central differences are exact.
template <class S>
class BlockGradient : public ::testing::Test {};
using Exact = ::testing::Types<Rational, Float50>;
TYPED_TEST_SUITE(BlockGradient, Exact);

TYPED_TEST(BlockGradient, OfTheEquivariantLayer) {
  using S = TypeParam;
  for (const BlockShape& kind : kinds_of({2, 2, 2, 1, 3})) {
    expect_gradients<S>(BlockLinear<S>(kind, 2, 1), random_features<S>(kind, 2, 2, 2),
                        random_features<S>(kind, 1, 2, 3));
  }
}

TYPED_TEST(BlockGradient, OfTheInvariantLayer) {
  using S = TypeParam;
  for (const BlockShape& kind : kinds_of(shape)) {
    expect_gradients<S>(BlockPooling<S>(kind, 2, 3), random_features<S>(kind, 2, 2, 2),
                        Matrix<S>(fixed_probe<S>(3, 2, 4)));
  }
}

// Float and double follow the rationals, outputs and derivatives.
template <class S>
class RoundedBlock : public ::testing::Test {};
using Rounded = ::testing::Types<float, double>;
TYPED_TEST_SUITE(RoundedBlock, Rounded);

template <class S>
std::vector<double> numbers_of(const BlockShape& kind) {
  BlockLinear<S> layer(kind, 2, 2);
  randomize<S>(layer, 1);
  const auto input = random_features<S>(kind, 2, 2, 2);
  auto gradients = layer.backward(input, random_features<S>(kind, 2, 2, 3));
  std::vector<double> numbers;
  const auto note = [&](const char*, const Matrix<S>& tensor) {
    for (Index i = 0; i < tensor.size(); ++i) numbers.push_back(static_cast<double>(tensor.data()[i]));
  };
  const auto output = layer(input);
  for_each_tensor(output, note);
  for_each_tensor(gradients.input, note);
  for (const Matrix<S>* matrix : parameter_matrices(gradients.parameters.parameters())) note("", *matrix);
  return numbers;
}

TYPED_TEST(RoundedBlock, FollowsTheRationals) {
  for (const BlockShape& kind : kinds_of(shape)) {
    const std::vector<double> rounded = numbers_of<TypeParam>(kind);
    const std::vector<double> exact = numbers_of<Rational>(kind);
    ASSERT_EQ(rounded.size(), exact.size());
    for (std::size_t i = 0; i < exact.size(); ++i) {
      EXPECT_NEAR(rounded[i], exact[i],
                  static_cast<double>(tolerance<TypeParam>()) * (1 + std::abs(exact[i])));
    }
  }
}

TEST(BlockLinear, RefusesOtherKinds) {
  const BlockLinear<double> layer(of_kind(shape, true, false), 1, 1);
  EXPECT_THROW(layer(random_features<double>(shape, 1, 1, 1)), ShapeError);
  EXPECT_THROW(layer(random_features<double>(of_kind(shape, true, true), 1, 1, 1)), ShapeError);
  EXPECT_THROW(layer(random_features<double>(of_kind(shape, true, false), 2, 1, 1)), ShapeError);
  EXPECT_NO_THROW(layer(random_features<double>(of_kind({3, 1, 1, 2, 4}, true, false), 1, 1, 1)));
  EXPECT_THROW(BlockLinear<double>(shape, 0, 1), ShapeError);
  EXPECT_THROW(BlockPooling<double>(shape, 1, 0), ShapeError);
}

// They would lose the gain and the bias without a word.
TEST(PublishedLayers, RefuseNormsWithAGain) {
  const auto weights = random_features<double>(of_kind(shape, false, true), 1, 1, 1);
  EXPECT_THROW(EquivariantLinear<double>(3, 1, 1)(weights), ShapeError);
  EXPECT_THROW(InvariantLayer<double>(3, 1, 1)(weights), ShapeError);
  EXPECT_THROW(ScalarGate<double>(3, 1)(weights), ShapeError);
}

}  // namespace
}  // namespace attnsym::testing
