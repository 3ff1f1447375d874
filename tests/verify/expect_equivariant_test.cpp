// The kit is itself tested: it passes correct layers, and tells which generators a broken one breaks.
#include "verify/testing/expect_equivariant.hpp"

#include <gtest/gtest.h>

namespace attnsym::testing {
namespace {

AttentionGroup biased() {
  AttentionConfig config{4, 4, 2, 2, 2};
  config.key_bias = config.value_bias = config.output_bias = true;
  return {config};
}

constexpr EquivarianceOptions few{30};

const auto unchanged = [](auto w) { return w; };

TEST(ExpectEquivariant, PassesTheIdentity) { EXPECT_TRUE(expect_equivariant(unchanged, biased(), few)); }

TEST(ExpectEquivariant, PassesALayerThatKnowsDoubleOnly) {
  const auto doubled = [](AttentionWeights<double> w) {
    for (auto& group : w.groups) {
      for (auto& reader : group.readers) reader.query *= 2;
    }
    return w;
  };
  EXPECT_TRUE(expect_equivariant(doubled, biased(), few));
}

TEST(ExpectEquivariant, KnowsEveryFamily) {
  std::vector<std::string> names;
  for (const auto& family : biased().families()) names.push_back(family.name);
  EXPECT_EQ(names, (std::vector<std::string>{"head permutation", "reader permutation", "QK gauge", "VO gauge",
                                             "key bias translation", "value bias translation"}));
}

TEST(ExpectNotEquivariant, AttributesAHalvedKeyBias) {
  const auto halve = [](auto w) {
    for (auto& group : w.groups) group.key_bias /= 2;
    return w;
  };
  EXPECT_TRUE(expect_not_equivariant(halve, biased(), {"key bias translation"}, few));
}

TEST(ExpectNotEquivariant, AttributesAFavouredReader) {
  const auto favour = [](auto w) {
    for (auto& group : w.groups) group.readers[0].query *= 2;
    return w;
  };
  EXPECT_TRUE(expect_not_equivariant(favour, biased(), {"reader permutation"}, few));
}

TEST(ExpectNotEquivariant, AttributesALostOutputBias) {
  const auto drop = [](auto w) {
    w.output_bias.setZero();
    return w;
  };
  EXPECT_TRUE(expect_not_equivariant(drop, biased(), {"value bias translation"}, few));
}

TEST(ExpectNotEquivariant, TellsTheTensor) {
  const auto favour = [](auto w) {
    w.groups[0].value *= 2;
    return w;
  };
  const EquivarianceReport report = check_equivariance(favour, biased(), few);
  ASSERT_EQ(report.broken(), std::vector<std::string>{"head permutation"});
  for (const TensorError& error : report.families[0].errors) {
    EXPECT_EQ(error.absolute > 0, error.tensor == "value") << error.tensor;
  }
  std::ostringstream text;
  text << report;
  EXPECT_NE(text.str().find("BREAKS head permutation"), std::string::npos) << text.str();
  EXPECT_NE(text.str().find("replay: RC_PARAMS=\"seed="), std::string::npos) << text.str();
}

// A violation far below what double can see is found, and rounding far above it is excused.
TEST(PrecisionLadder, ASmallViolationIsNoRounding) {
  const auto tiny = [](auto w) {
    using S = typename std::decay_t<decltype(w.groups[0].key)>::Scalar;
    w.groups[0].key(0, 0) += S(1e-20);
    return w;
  };
  const EquivarianceReport report = check_equivariance(tiny, biased(), few);
  EXPECT_FALSE(report.passed());
}

TEST(PrecisionLadder, LargeRoundingIsNoViolation) {
  // Adds 1e9 and takes it away again: seven digits are lost.
  const auto lossy = [](auto w) {
    using S = typename std::decay_t<decltype(w.groups[0].key)>::Scalar;
    for (auto& group : w.groups) {
      group.key /= S(3);
      group.key.array() += S(1e9);
      group.key.array() -= S(1e9);
    }
    return w;
  };
  EXPECT_TRUE(expect_equivariant(lossy, biased(), few));
  const auto lossy_double = [&](AttentionWeights<double> w) { return lossy(std::move(w)); };
  EXPECT_FALSE(check_equivariance(lossy_double, biased(), few).passed())
      << "without the ladder it looks broken";
}

TEST(PrecisionLadder, Slopes) {
  EXPECT_TRUE(is_rounding(1e-15, 1e-49, 1));
  EXPECT_TRUE(is_rounding(1e-3, 1e-37, 1e-30)) << "whatever the scale";
  EXPECT_TRUE(is_rounding(0, 0, 0));
  EXPECT_FALSE(is_rounding(1e-15, 1e-15, 1));
  EXPECT_FALSE(is_rounding(0, 1e-20, 1));
  EXPECT_FALSE(is_rounding(std::nan(""), 0, 1));
  EXPECT_FALSE(is_rounding(0, std::nan(""), 1));
  EXPECT_FALSE(is_rounding(std::numeric_limits<double>::infinity(), 1, 1));
}

TEST(ExpectEquivariant, NanFails) {
  const auto nan = [](auto w) {
    w.groups[1].key.setConstant(std::numeric_limits<double>::quiet_NaN());
    return w;
  };
  EXPECT_EQ(check_equivariance(nan, biased(), few).broken().size(), biased().families().size());
}

TEST(ExpectEquivariant, AChangedShapeFails) {
  const auto cut = [](auto w) {
    if (w.groups[0].key(0, 0) > 0) w.groups.pop_back();
    return w;
  };
  EXPECT_FALSE(check_equivariance(cut, biased(), few).passed());
}

struct NoGenerators : AttentionGroup {
  std::vector<Family<AttentionElement<double>>> families() const { return {}; }
};

TEST(ExpectEquivariant, AnEmptyGroupFails) {
  EXPECT_FALSE(expect_equivariant(unchanged, NoGenerators{biased()}, few));
  EXPECT_FALSE(expect_not_equivariant(unchanged, NoGenerators{biased()}, {}, few));
}

}  // namespace
}  // namespace attnsym::testing
