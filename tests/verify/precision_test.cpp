// N10: the slope tells an identity from a difference, however small.
#include "verify/precision.hpp"

#include <gtest/gtest.h>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"

namespace attnsym {
namespace {

using testing::f32;
using testing::random_weights;
using testing::stored;

AttentionConfig config() {
  AttentionConfig c{12, 3, 3, 4, 4};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
  return c;
}

StoredAttention module() { return stored(config(), random_weights<double>(config(), 1), f32); }

// A gauge that leaves no digit of the stored numbers as it was, yet none is lost: monomial, all heads moved.
StoredAttention exactly_moved(const StoredAttention& a) {
  SampleOptions monomial;
  monomial.monomial = true;
  monomial.bias = false;
  Random random(3);
  StoredAttention b = a;
  b.weights = act(symmetry_of(a.config).sample<double>(random, monomial), a.weights);
  return b;
}

TEST(Ladder, FallsForAnIdentity) {
  const StoredAttention a = module();
  const PrecisionLadder ladder = precision_ladder(a, exactly_moved(a));
  EXPECT_NEAR(ladder.slope(), 1, 0.1);
  EXPECT_TRUE(ladder.is_identity());
  EXPECT_LT(ladder.rungs[2].residual, 1e-46);
  EXPECT_LT(ladder.rungs[3].residual, 1e-95);
}

TEST(Ladder, StaysForADifference) {
  const StoredAttention a = module();
  for (const double edit : {1e-3, 1e-9, 1e-14}) {
    StoredAttention b = exactly_moved(a);
    b.weights.groups[1].value(2, 2) += edit;
    const PrecisionLadder ladder = precision_ladder(a, b);
    EXPECT_NEAR(ladder.slope(), 0, 0.05) << edit;
    EXPECT_FALSE(ladder.is_identity());
    EXPECT_GT(ladder.rungs.back().residual, 1e-3 * edit);
  }
}

// Differences that double and 50 digits cannot see: 100 digits see them, or do not say that there is none.
TEST(Ladder, DoesNotCallTinyDifferencesEqual) {
  const StoredAttention a = module();
  for (const double edit : {1e-20, 1e-40, 1e-60, 1e-80}) {
    StoredAttention b = exactly_moved(a);
    b.weights.groups[1].value(2, 2) = 0;
    StoredAttention c = b;
    c.weights.groups[1].value(2, 2) = edit;
    EXPECT_FALSE(precision_ladder(b, c).is_identity()) << edit;
  }
  StoredAttention x = a;
  StoredAttention y = a;
  x.weights.groups[1].value(2, 2) = 1e-120;
  y.weights.groups[1].value(2, 2) = 2e-120;
  const std::string reading = precision_ladder(x, y).reading();
  EXPECT_EQ(reading.find("equal"), std::string::npos) << reading;
  EXPECT_NE(reading.find("no difference above 1e-97"), std::string::npos) << reading;
}

TEST(Ladder, ReadsNothingLeftAndNaN) {
  const StoredAttention a = module();
  const std::string reading = precision_ladder(a, a).reading();
  EXPECT_NE(reading.find("no difference above 1e-97 of the outputs"), std::string::npos) << reading;
  const PrecisionLadder nan = climb([]<RealScalar S>() { return std::numeric_limits<double>::quiet_NaN(); });
  EXPECT_FALSE(nan.is_identity());
  EXPECT_NE(nan.reading().find("not finite"), std::string::npos);
}

}  // namespace
}  // namespace attnsym
