// The change of basis between two modules, and comparisons that come from it instead of from factorisations.
#include "verify/fitted_transport.hpp"

#include <gtest/gtest.h>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/attention_kinds.hpp"
#include "tests/support/random_module.hpp"
#include "verify/checker/gauge_trial.hpp"
#include "verify/decide.hpp"
#include "verify/rounding.hpp"
#include "verify/stored_circuit.hpp"

namespace attnsym {
namespace {

using testing::AttentionKind;
using testing::bf16;
using testing::f32;
using testing::random_weights;
using testing::stored;

StoredAttention moved(const StoredAttention& a, double unit, double condition = 10) {
  Random random(11);
  const auto element = symmetry_of(a.config).sample<double>(random, {.condition = condition});
  return stored(a.config, act(element, a.weights), unit);
}

// A kind of attention in a wider model: at D 6 single rows may be zero but for rounding.
AttentionConfig wider(AttentionConfig c) {
  c.model_width = 20;
  return c;
}

void expect_same(const CircuitComparison& fast, const CircuitComparison& exact, const std::string& name) {
  const double slack = 1e-6;
  EXPECT_NEAR(fast.ratio, exact.ratio, slack * exact.limit) << name;
  EXPECT_NEAR(fast.largest_frequency_ratio, exact.largest_frequency_ratio, slack * exact.limit) << name;
  EXPECT_NEAR(fast.largest_row_ratio, exact.largest_row_ratio, slack * exact.limit) << name;
  EXPECT_NEAR(fast.largest_column_ratio, exact.largest_column_ratio, slack * exact.limit) << name;
  EXPECT_EQ(fast.largest_row, exact.largest_row) << name;
  EXPECT_EQ(fast.largest_column, exact.largest_column) << name;
  EXPECT_NEAR(fast.norm, exact.norm, slack * exact.norm) << name;
  EXPECT_NEAR(fast.noise, exact.noise, slack * exact.noise) << name;
  EXPECT_NEAR(fast.limit, exact.limit, slack * exact.limit) << name;
  EXPECT_GE(fast.difference_at_most, exact.difference) << name;
  EXPECT_LE(fast.difference_at_most, 1.01 * exact.difference_at_most + 1e-10 * exact.norm) << name;
}

TEST(FittedTransport, ComparesAsFactorisationsDo) {
  for (const AttentionKind& kind : testing::attention_kinds()) {
    if (kind.config.output_gate) continue;  // coordinate by coordinate, without a transport
    for (const double unit : {f32, bf16}) {
      const AttentionConfig c = wider(kind.config);
      const StoredAttention a = with_all_biases(stored(c, random_weights<double>(c, 3), unit));
      const StoredAttention b = with_all_biases(moved(stored(c, random_weights<double>(c, 3), unit), unit));
      const auto fitted = fitted_transport(a, b, match_heads(a, b));
      ASSERT_TRUE(fitted) << kind.name;
      AttentionConfig of_gained = a.config;  // the change of basis of queries and keys with their gains
      of_gained.qk_norm.reset();
      EXPECT_TRUE(symmetry_of(of_gained).contains(fitted->b_from_a)) << kind.name;
      ASSERT_EQ(static_cast<Index>(fitted->heads.size()), c.heads);
      for (const HeadComparison& head : fitted->heads) {
        expect_same(head.qk, compare(stored_scores(a, head.head), stored_scores(b, head.image)), kind.name);
        expect_same(head.vo, compare(stored_vo_circuit(a, head.head), stored_vo_circuit(b, head.image)),
                    kind.name);
      }
    }
  }
}

TEST(FittedTransport, IsAbsentWhereOneNumberIsWrong) {
  for (const AttentionKind& kind : testing::attention_kinds()) {
    const AttentionConfig c = wider(kind.config);
    const StoredAttention a = with_all_biases(stored(c, random_weights<double>(c, 3), f32));
    const StoredAttention right = with_all_biases(moved(stored(c, random_weights<double>(c, 3), f32), f32));
    for (auto pick : {+[](KvGroup<double>& group) { return &group.key(4, 1); },
                      +[](KvGroup<double>& group) { return &group.value(3, 2); },
                      +[](KvGroup<double>& group) { return &group.readers.back().query(5, 0); },
                      +[](KvGroup<double>& group) { return &group.readers.back().output(1, 5); }}) {
      StoredAttention b = right;
      *pick(b.weights.groups[0]) *= 1.001;
      EXPECT_FALSE(fitted_transport(a, b, match_heads(a, b))) << kind.name;
    }
  }
}

TEST(FittedTransport, RunsItsTasksInAnyOrder) {
  const AttentionConfig c = testing::tiny_config(4, 4);
  const StoredAttention a = with_all_biases(stored(c, random_weights<double>(c, 3), f32));
  const StoredAttention b = with_all_biases(moved(stored(c, random_weights<double>(c, 3), f32), f32));
  const RunTasks backwards = [](std::size_t count, const std::function<void(std::size_t)>& task) {
    while (count > 0) task(--count);
  };
  const Matching matching = match_heads(a, b);
  EXPECT_EQ(fitted_transport(a, b, matching)->b_from_a,
            fitted_transport(a, b, matching, backwards)->b_from_a);
}

// Squares of such numbers vanish; the answer has to come from factorisations.
TEST(GaugeTrial, RefusesNumbersWhoseSquaresLeaveTheRange) {
  const AttentionConfig c = testing::tiny_config(1, 1);
  const auto weights = random_weights<double>(c, 3);
  const auto trial = [&](double factor) {
    const Matrix<double> key = factor * weights.groups[0].key;
    const StoredFactor written{key, f32 * key.cwiseAbs()};
    const Matrix<double>& query = weights.groups[0].readers[0].query;
    const StoredFactor reading{query, f32 * query.cwiseAbs()};
    StoredFactor wrong = reading;
    wrong.value(0, 0) = 7;
    const GaugeTrial one(written, written, GeneralLinear<double>::identity(4), {real_block(4)}, {1}, {1e4});
    EXPECT_FALSE(one.compare(reading, wrong));
    return one.compare(reading, reading).has_value();
  };
  EXPECT_TRUE(trial(1));
  EXPECT_FALSE(trial(1e-170));
  EXPECT_FALSE(trial(1e170));
}

TEST(GaugeTrial, LeavesSmallModulesToFactorisations) {
  const AttentionConfig c = testing::tiny_config(2, 2);
  auto weights = random_weights<double>(c, 3);
  for (auto& group : weights.groups) group.key *= 1e-170;
  const StoredAttention a = stored(c, weights, f32);
  StoredAttention b = a;
  b.weights.groups[0].key(1, 1) *= 1.01;
  EXPECT_STRNE(name_of(decide_equivalence(a, b).verdict), "equivalent");
  EXPECT_STREQ(name_of(decide_equivalence(a, moved(a, f32)).verdict), "equivalent");
}

}  // namespace
}  // namespace attnsym
