// The group of a config: dimensions, drawn elements, membership.
#include "symmetry/symmetry_group.hpp"

#include <gtest/gtest.h>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

AttentionConfig config_of(Index d, Index h, Index g, Index dk, Index dv, bool qkv_bias, bool output_bias) {
  AttentionConfig c{d, h, g, dk, dv};
  c.query_bias = c.key_bias = c.value_bias = qkv_bias;
  c.output_bias = output_bias;
  return c;
}

// The dimensions that a Jacobian of a tiny network was measured to have (D 6, dk 4, dv 3).
TEST(Dimension, AgreesWithTheMeasuredNullSpaces) {
  EXPECT_EQ(symmetry_of(config_of(6, 2, 2, 4, 3, false, false)).dimension(), 50);
  EXPECT_EQ(symmetry_of(config_of(6, 2, 2, 4, 3, true, true)).dimension(), 64);
  EXPECT_EQ(symmetry_of(config_of(6, 2, 2, 4, 3, true, false)).dimension(), 58);
  EXPECT_EQ(symmetry_of(config_of(6, 3, 3, 4, 3, true, false)).dimension(), 90);
  EXPECT_EQ(symmetry_of(config_of(6, 4, 2, 4, 3, false, false)).dimension(), 50);
  EXPECT_EQ(symmetry_of(config_of(6, 4, 1, 4, 3, false, false)).dimension(), 25);
  EXPECT_EQ(symmetry_of(config_of(6, 4, 2, 4, 3, true, true)).dimension(), 64);
}

TEST(Sample, GaugesHaveTheAskedCondition) {
  const SymmetryGroup group = symmetry_of(config_of(8, 4, 2, 3, 2, true, true));
  Random random(7);
  for (const double wanted : {1.0, 10.0, 1000.0}) {
    SampleOptions options;
    options.condition = wanted;
    const auto element = group.sample<double>(random, options);
    ASSERT_TRUE(group.contains(element));
    for (const auto& move : element.local) {
      EXPECT_NEAR(condition(qk_gauge(move).linear), wanted, 1e-9 * wanted);
      EXPECT_NEAR(condition(vo_gauge(move).linear), wanted, 1e-9 * wanted);
    }
  }
}

TEST(Sample, MovesOnlyWhatItIsAskedTo) {
  const SymmetryGroup group = symmetry_of(config_of(8, 6, 3, 3, 2, true, true));
  SampleOptions nothing;
  nothing.heads = nothing.readers = nothing.qk = nothing.vo = nothing.bias = false;
  Random random(1);
  EXPECT_EQ(group.sample<double>(random, nothing), group.identity<double>());
  SampleOptions only_qk = nothing;
  only_qk.qk = true;
  const auto element = group.sample<double>(random, only_qk);
  EXPECT_EQ(element.top, Permutation::identity(3));
  EXPECT_FALSE(qk_gauge(element.local[0]) == Affine<double>::identity(3));
  EXPECT_EQ(vo_gauge(element.local[0]), Affine<double>::identity(2));
}

TEST(Sample, SameSeedSameElement) {
  const SymmetryGroup group = symmetry_of(config_of(8, 2, 2, 3, 2, true, true));
  Random first(5);
  Random second(5);
  Random third(6);
  const auto element = group.sample<double>(first);
  EXPECT_EQ(element, group.sample<double>(second));
  EXPECT_FALSE(element == group.sample<double>(third));
}

TEST(Sample, MonomialGaugesAreExactInEveryScalar) {
  const SymmetryGroup group = symmetry_of(config_of(4, 2, 2, 3, 2, false, false));
  SampleOptions options;
  options.monomial = true;
  options.condition = 64;
  Random random(3);
  const auto element = group.sample<Rational>(random, options);
  EXPECT_EQ(compose(element, inverse(element)), group.identity<Rational>());
  EXPECT_FALSE(element == group.identity<Rational>());
  Random again(3);
  EXPECT_LE(condition(qk_gauge(group.sample<double>(again, options).local[0]).linear), 64);
}

TEST(Sample, RefusesWhatCannotBeDrawn) {
  const SymmetryGroup group = symmetry_of(config_of(4, 2, 2, 3, 2, false, false));
  Random random(1);
  EXPECT_THROW(group.sample<Rational>(random), ShapeError);
  SampleOptions below_one;
  below_one.condition = 0.5;
  EXPECT_THROW(group.sample<double>(random, below_one), ShapeError);
}

TEST(Contains, KnowsShapesFreeBiasesAndNan) {
  const SymmetryGroup without_bias = symmetry_of(config_of(4, 2, 2, 3, 2, false, false));
  auto element = without_bias.identity<double>();
  EXPECT_TRUE(without_bias.contains(element));
  element.local[1].second.first.shift(0) = 1;
  EXPECT_FALSE(without_bias.contains(element)) << "there is no key bias to shift";
  element.local[1].second.first.shift(0) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(symmetry_of(config_of(4, 2, 2, 3, 2, true, true)).contains(element));
  EXPECT_FALSE(without_bias.contains(symmetry_of(config_of(4, 4, 4, 3, 2, false, false)).identity<double>()));
  EXPECT_FALSE(without_bias.contains(symmetry_of(config_of(4, 2, 2, 2, 2, false, false)).identity<double>()));
  EXPECT_FALSE(without_bias.contains(symmetry_of(config_of(4, 4, 2, 3, 2, false, false)).identity<double>()));
}

TEST(Config, RefusesImpossibleShapes) {
  EXPECT_THROW(symmetry_of(config_of(0, 2, 2, 3, 2, false, false)), ShapeError);
  EXPECT_THROW(symmetry_of(config_of(4, 3, 2, 3, 2, false, false)), ShapeError);
  AttentionConfig no_scale = config_of(4, 2, 2, 3, 2, false, false);
  no_scale.scale = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(symmetry_of(no_scale), ShapeError);
}

}  // namespace
}  // namespace attnsym
