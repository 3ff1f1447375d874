// What counts as a separating input, and what must not.
#include "verify/witness.hpp"

#include <gtest/gtest.h>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/decide.hpp"
#include "verify/witness_inputs.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f16;
using testing::f32;
using testing::random_weights;
using testing::stored;

AttentionConfig plain_config() {
  AttentionConfig c{24, 4, 4, 6, 5};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
  c.scale = 0.4;
  return c;
}

std::string verdict_of(const StoredAttention& a, const StoredAttention& b, std::uint64_t seed) {
  DecideOptions options;
  options.seed = seed;
  return name_of(decide_equivalence(a, b, options).verdict);
}

// Weights on two levels round coherently: the difference is far above what independent errors make, but
// rounding explains all of it.
TEST(Rounding, CoherentErrorsAreNeverDistinct) {
  const AttentionConfig c = plain_config();
  for (const double unit : {f16, bf16}) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      AttentionWeights<double> w = random_weights<double>(c, seed);
      for_each_slot(w, [](auto& slot) {
        slot =
            slot.unaryExpr([](double x) { return (x < 0 ? -0.0502 : 0.0502) * (std::abs(x) < 0.5 ? 1 : 2); });
      });
      EXPECT_NE(verdict_of(stored(c, w, 0x1p-40), stored(c, w, unit), seed), "distinct")
          << unit << ' ' << seed;
    }
  }
}

// An input made to bring out the rounding of a pair that differs in nothing else: the leading directions of
// the differences, with tokens of every size.
TEST(Rounding, InputsMadeToExploitItAreRefused) {
  const AttentionConfig c = plain_config();
  Random random(4);
  for (const double unit : {f32, f16, bf16}) {
    for (int pair = 0; pair < 2; ++pair) {
      const StoredAttention a = stored(c, random_weights<double>(c, random.bits()), unit);
      SampleOptions heads_stay;
      heads_stay.heads = false;
      const auto g = symmetry_of(c).sample<double>(random, heads_stay);
      const StoredAttention b = stored(c, act(g, a.weights), unit);
      for (Index head = 0; head < c.heads; ++head) {
        const Suspects suspects{stored_qk_circuit(a, head), stored_qk_circuit(b, head),
                                stored_vo_circuit(a, head), stored_vo_circuit(b, head)};
        for (const Matrix<double>& input : candidate_inputs(c, suspects, random)) {
          for (const double size : {1.0, 30.0, 1000.0})
            EXPECT_NE(refute_witness(a, b, size * input), std::nullopt) << unit;
        }
      }
    }
  }
}

// What the two bounds say: the true gap is above gap_at_least, and modules that round to the two are further
// apart than apart_at_least.
TEST(Measure, BoundsAreBelowTheGap) {
  const AttentionConfig c = plain_config();
  const StoredAttention a = stored(c, random_weights<double>(c, 1), f16);
  StoredAttention b = a;
  b.weights.groups[1].value(3, 2) += 0.5;
  const Decision decision = decide_equivalence(a, b);
  ASSERT_STREQ(name_of(decision.verdict), "distinct");
  const Witness& witness = std::get<Distinct>(decision.verdict).witness;
  EXPECT_LE(witness.gap_at_least, witness.gap);
  EXPECT_GE(witness.gap_at_least, 0.999999 * witness.gap)
      << "the stored numbers leave only arithmetic errors";
  EXPECT_LT(witness.apart_at_least, witness.gap_at_least);
  EXPECT_GT(witness.apart_at_least, 0);
  EXPECT_GT(witness.separation, 1);
}

TEST(Search, ShortensToThreeTokensWhereTheyDo) {
  const AttentionConfig c = plain_config();
  const Decision decision = decide_equivalence(stored(c, random_weights<double>(c, 1), f32),
                                               stored(c, random_weights<double>(c, 2), f32));
  ASSERT_STREQ(name_of(decision.verdict), "distinct");
  EXPECT_EQ(std::get<Distinct>(decision.verdict).witness.input.rows(), 3);
}

TEST(Separates, NeedsAllThree) {
  Witness witness{Matrix<double>::Zero(3, 2), {}, {}};
  witness.gap = 10;
  witness.noise = 1;
  witness.apart_at_least = 0.1;
  EXPECT_TRUE(separates(witness, 10));
  EXPECT_FALSE(separates(witness, 11)) << "within the drawn noise";
  witness.apart_at_least = 0;
  EXPECT_FALSE(separates(witness, 10)) << "rounding may explain it";
  witness.apart_at_least = 0.1;
  witness.input.resize(2, 2);
  EXPECT_FALSE(separates(witness, 10)) << "too short";
}

}  // namespace
}  // namespace attnsym
