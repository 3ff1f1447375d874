// G_U is a group that acts on weights, over every scalar, and drawn elements are seldom trivial.
#include "nfn/block_symmetry.hpp"

#include <gtest/gtest.h>

#include "nfn/row_major.hpp"
#include "nfn/testing/generators.hpp"
#include "symmetry/errors.hpp"
#include "tests/nfn/random_features.hpp"
#include "verify/testing/laws.hpp"

namespace attnsym::testing {
namespace {

constexpr BlockShape small{3, 2, 2, 1, 2};

template <Scalar S>
S largest_difference(const WeightFeatures<S>& a, const WeightFeatures<S>& b) {
  S largest(0);
  for_each_tensor(a, [&](std::string_view name, const Matrix<S>& tensor) {
    for_each_tensor(b, [&](std::string_view other, const Matrix<S>& wanted) {
      if (name == other) largest = std::max<S>(largest, (tensor - wanted).cwiseAbs().maxCoeff());
    });
  });
  return largest;
}

template <class S>
class BlockLaws : public ::testing::Test {};
using Scalars = ::testing::Types<Rational, float, double, Float50>;
TYPED_TEST_SUITE(BlockLaws, Scalars);

TYPED_TEST(BlockLaws, ElementsAreAGroupThatActs) {
  using S = TypeParam;
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("block elements", [&] {
    const BlockShape shape = *block_shape();
    const auto g = *block_element<S>(shape);
    const auto h = *block_element<S>(shape);
    trivial.note(g);
    group_laws(g, h, *block_element<S>(shape));
    // Integer shears on dyadic numbers: exact in every scalar.
    const auto w = *features<S>(shape, *whole_range(1, 2), *whole_range(1, 2));
    RC_ASSERT(act(compose(g, h), w) == act(g, act(h, w)));
    RC_ASSERT(act(identity_like(g), w) == w);
  }));
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

// The same for residual blocks, for norms with a gain and a bias, and for both.
TYPED_TEST(BlockLaws, OfEveryKindOfBlock) {
  using S = TypeParam;
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("block elements, all kinds", [&] {
    BlockShape shape = *block_shape();
    shape.residual = *rc::gen::arbitrary<bool>();
    shape.affine_norm = *rc::gen::arbitrary<bool>();
    const auto g = *block_element<S>(shape);
    const auto h = *block_element<S>(shape);
    trivial.note(g);
    const auto w = *features<S>(shape, *whole_range(1, 2), *whole_range(1, 2));
    RC_ASSERT(act(compose(g, h), w) == act(g, act(h, w)));
    RC_ASSERT(act(identity_like(g), w) == w);
  }));
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

// Twin: an action from the wrong side is caught.
TEST(BlockLawsTwin, WrongOrderOfCompositionIsCaught) {
  Random random(1);
  const auto w = random_features<Rational>(small, 1, 1, 2);
  int violations = 0;
  for (int i = 0; i < 20; ++i) {
    const auto g = sample_element<Rational>(small, random);
    const auto h = sample_element<Rational>(small, random);
    if (!(act(compose(h, g), w) == act(g, act(h, w)))) ++violations;
  }
  EXPECT_GT(violations, 10);
}

TYPED_TEST(BlockLaws, SampledElementsInvertAndAreSeldomTrivial) {
  using S = TypeParam;
  Random random(3);
  TrivialCount trivial;
  const auto w = random_features<S>(small, 2, 2, 4);
  for (int i = 0; i < 20; ++i) {
    const auto g = sample_element<S>(small, random);
    trivial.note(g);
    EXPECT_LE(largest_difference(act(inverse(g), act(g, w)), w), S(100) * tolerance<S>());
  }
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

TYPED_TEST(BlockLaws, SampleMovesWhatIsAskedFor) {
  using S = TypeParam;
  Random random(5);
  BlockSampleOptions only_hidden{1.0, false, false, false, false, true};
  const auto g = sample_element<S>({3, 2, 2, 2, 8}, random, only_hidden);
  EXPECT_EQ(head_moves(g), identity_like(head_moves(g)));
  EXPECT_EQ(model_order(g), identity_like(model_order(g)));
  EXPECT_NE(hidden_order(g), identity_like(hidden_order(g)));
}

// The circuits of every head, and A and B as seen from attention, are what a block computes with.
TEST(BlockAction, KeepsCircuitsAndMovesThePerceptronAlong) {
  Random random(6);
  const BlockShape shape{3, 1, 2, 2, 4};
  const auto w = random_features<Rational>(shape, 1, 1, 7);
  const auto moved = act(sample_element<Rational>(shape, random), w);
  EXPECT_EQ(Matrix<Rational>(moved.query * moved.key.transpose()),
            Matrix<Rational>(w.query * w.key.transpose()));
  const auto through = [](const WeightFeatures<Rational>& x) {
    return Matrix<Rational>(x.value * x.output.transpose() * x.up * x.down.transpose());
  };
  EXPECT_EQ(through(moved), through(w));
  EXPECT_FALSE(moved == w);
}

// What a gain and a bias in the norm make of the outputs of attention, as A and B see it.
TEST(BlockAction, MovesTheNormAlong) {
  Random random(7);
  BlockShape shape{3, 1, 2, 2, 4};
  shape.affine_norm = true;
  const auto w = random_features<Rational>(shape, 1, 1, 7);
  const auto moved = act(sample_element<Rational>(shape, random), w);
  const auto through = [](const WeightFeatures<Rational>& x) {
    Matrix<Rational> normed = x.value * x.output.transpose() * x.norm_gain.col(0).asDiagonal();
    normed.rowwise() += x.norm_bias.col(0).transpose();
    return Matrix<Rational>(normed * x.up * x.down.transpose());
  };
  EXPECT_EQ(through(moved), through(w));
  EXPECT_NE(moved.norm_gain, w.norm_gain);
}

TEST(BlockAction, LeavesTheCoordinatesOfAResidualStreamAlone) {
  Random random(7);
  BlockShape shape{3, 2, 2, 2, 4};
  const auto reorders = sample_element<Rational>(shape, random);
  ASSERT_NE(model_order(reorders), identity_like(model_order(reorders)));
  shape.residual = true;
  const auto g = sample_element<Rational>(shape, random);
  EXPECT_EQ(model_order(g), identity_like(model_order(g)));
  EXPECT_NE(g, identity_like(g));
  EXPECT_THROW(act(reorders, random_features<Rational>(shape, 1, 1, 8)), ShapeError);
}

TEST(BlockAction, RefusesWhatDoesNotFit) {
  const auto w = random_features<double>(small, 1, 1, 8);
  EXPECT_THROW(act(identity_element<double>(BlockShape{3, 2, 2, 1, 3}), w), ShapeError);
  EXPECT_THROW(act(identity_element<double>(BlockShape{3, 2, 1, 1, 2}), w), ShapeError);
  auto broken = w;
  broken.up.resize(3, 3);
  EXPECT_THROW(act(identity_element<double>(small), broken), ShapeError);
  broken = w;
  broken.shape.affine_norm = true;
  EXPECT_THROW(act(identity_element<double>(small), broken), ShapeError);
  EXPECT_THROW(WeightFeatures<double>::zero({3, 0, 1, 1, 1}, 1, 1), ShapeError);
  EXPECT_THROW(WeightFeatures<double>::zero(small, 0, 1), ShapeError);
}

TEST(RowMajor, GoesThereAndBack) {
  const auto w = random_features<double>(small, 2, 3, 9);
  auto copy = WeightFeatures<double>::zero(small, 2, 3);
  for (const char* name : {"Q", "K", "V", "O", "A", "B", "bA", "bB"}) {
    from_row_major<double>(copy, name, to_row_major(w, name));
  }
  EXPECT_EQ(copy, w);
}

TEST(RowMajor, HasTheNormWhereTheBlockHas) {
  BlockShape shape = small;
  EXPECT_THROW(row_major_axes(shape, 2, 3, "gamma"), ShapeError);
  shape.affine_norm = true;
  const auto w = random_features<double>(shape, 2, 3, 9);
  auto copy = WeightFeatures<double>::zero(shape, 2, 3);
  for_each_tensor(
      w, [&](const char* name, const auto&) { from_row_major<double>(copy, name, to_row_major(w, name)); });
  EXPECT_EQ(copy, w);
  EXPECT_EQ(row_major_axes(shape, 2, 3, "beta"), (std::vector<Index>{3, 2, 3}));
}

TEST(RowMajor, HasTheAxesOfThePaper) {
  const auto w = random_features<double>(small, 2, 3, 10);
  EXPECT_EQ(row_major_axes(small, 2, 3, "O"), (std::vector<Index>{3, 2, 2, 1, 3}));
  EXPECT_EQ(row_major_axes(small, 2, 3, "bA"), (std::vector<Index>{3, 2, 2}));
  // B[n, c, k, q] at n = 2, c = 1, k = 1, q = 2 is the last entry.
  EXPECT_EQ(to_row_major(w, "B").back(), w.down(1 * 3 + 2, 2 * 2 + 1));
  // Q[n, c, i, p, k] at n = 0, c = 0, i = 1, p = 2, k = 0.
  EXPECT_EQ(to_row_major(w, "Q")[(1 * 3 + 2) * 2], w.query(2, 2));
  EXPECT_THROW(to_row_major(w, "P"), ShapeError);
  auto other = w;
  EXPECT_THROW(from_row_major<double>(other, "Q", std::vector<double>(3)), ShapeError);
}

}  // namespace
}  // namespace attnsym::testing
