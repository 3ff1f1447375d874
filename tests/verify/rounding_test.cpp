// N7: what rounding explains and what it does not.
#include "verify/rounding.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "verify/constant.hpp"
#include "verify/rounding_law.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f16;
using testing::f32;
using testing::random_weights;
using testing::stored;

AttentionConfig wide_config() {
  AttentionConfig c{96, 2, 2, 16, 16};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
  c.scale = 0.25;
  return c;
}

// The module and its image under gauges of this condition, both as stored files.
std::pair<StoredAttention, StoredAttention> gauged_pair(double condition, double unit, std::uint64_t seed) {
  const AttentionConfig c = wide_config();
  const auto w = random_weights<double>(c, seed);
  SampleOptions options;
  options.condition = condition;
  options.heads = false;
  Random random(seed);
  const auto element = symmetry_of(c).sample<double>(random, options);
  return {stored(c, w, unit), stored(c, act(element, stored(c, w, unit).weights), unit)};
}

void expect_rounding_only(const CircuitComparison& compared) {
  EXPECT_GT(compared.ratio, 0.45);
  EXPECT_LT(compared.ratio, 0.85);
  EXPECT_LT(compared.largest_row_ratio, 1.6);
  EXPECT_LT(compared.largest_column_ratio, 1.6);
  EXPECT_TRUE(compared.explained_by_rounding());
}

TEST(RoundingRatio, IsBelowOneWhenOnlyRoundingHappened) {
  for (const double unit : {f32, f16, bf16}) {
    for (const double condition : {1.0, 10.0, 1000.0}) {
      const auto [a, b] = gauged_pair(condition, unit, 5);
      for (Index head = 0; head < 2; ++head) {
        expect_rounding_only(compare(stored_qk_circuit(a, head), stored_qk_circuit(b, head)));
        expect_rounding_only(compare(stored_vo_circuit(a, head), stored_vo_circuit(b, head)));
      }
      EXPECT_TRUE(compare_constants(a, b).explained_by_rounding());
    }
  }
}

TEST(RoundingRatio, AnEditedEntryShowsInItsRow) {
  auto [a, b] = gauged_pair(10, f32, 6);
  b.weights.groups[0].readers[0].query(17, 3) += 0.01;
  const CircuitComparison compared = compare(stored_qk_circuit(a, 0), stored_qk_circuit(b, 0));
  EXPECT_EQ(compared.largest_row, 17);
  EXPECT_GT(compared.largest_row_ratio, 1000);
  EXPECT_GT(compared.largest_row_ratio, 3 * compared.ratio) << "the total averages a single row away";
  EXPECT_FALSE(compared.explained_by_rounding());
}

// An edit of one number that the whole circuit averages away, one for each slot.
TEST(RoundingRatio, SmallEditsShowInARowOrAColumnOnly) {
  const auto pair = gauged_pair(1, f16, 6);
  const auto expect_row_or_column = [&](auto edit, auto circuit) {
    StoredAttention edited = pair.second;
    edit(edited.weights.groups[0]);
    const CircuitComparison compared = compare(circuit(pair.first, 0), circuit(edited, 0));
    EXPECT_LE(compared.ratio, compared.limit) << "else this test shows nothing";
    EXPECT_GT(std::max(compared.largest_row_ratio, compared.largest_column_ratio), compared.limit);
    EXPECT_FALSE(compared.explained_by_rounding());
  };
  expect_row_or_column([](auto& group) { group.readers[0].query(17, 3) += 0.01; }, stored_qk_circuit);
  expect_row_or_column([](auto& group) { group.key(17, 3) += 0.01; }, stored_qk_circuit);
  expect_row_or_column([](auto& group) { group.value(17, 3) += 0.01; }, stored_vo_circuit);
  expect_row_or_column([](auto& group) { group.readers[0].output(3, 17) += 0.01; }, stored_vo_circuit);
}

// A constant that is exact but for one value bias: its rounding explains a difference of that size.
TEST(RoundingRatio, TheConstantCountsTheValueBias) {
  StoredAttention a = stored(wide_config(), random_weights<double>(wide_config(), 1), f16);
  for_each_slot(a.radius, [](auto& slot) { slot.setZero(); });
  a.radius.groups[1].value_bias(2) = f16 * std::abs(a.weights.groups[1].value_bias(2));
  StoredAttention b = a;
  b.weights.groups[1].value_bias(2) *= 1 + f16;
  EXPECT_TRUE(compare_constants(a, b).explained_by_rounding());
  b.weights.groups[1].value_bias(2) *= 1 + 10 * f16;
  EXPECT_FALSE(compare_constants(a, b).explained_by_rounding());
}

// A difference in one entry of the constant that its total averages away, yet no rounding can make.
TEST(RoundingRatio, TheConstantIsJudgedByEntries) {
  AttentionConfig c = wide_config();
  AttentionWeights<double> w = random_weights<double>(c, 1);
  for (auto& group : w.groups) group.value_bias.setZero();
  w.output_bias(7) = 1e-3;
  const StoredAttention a = stored(c, w, f16);
  StoredAttention b = a;
  b.weights.output_bias(7) *= 1.01;
  const ConstantComparison compared = compare_constants(a, b);
  EXPECT_LE(compared.ratio, compared.limit) << "else this test shows nothing";
  EXPECT_FALSE(compared.explained_by_rounding());
  b.weights.output_bias(7) = a.weights.output_bias(7) * (1 + 1.5 * f16);
  EXPECT_TRUE(compare_constants(a, b).explained_by_rounding());
}

TEST(RoundingRatio, ExactEqualityIsZeroAndExactDifferenceInfinite) {
  const StoredAttention a = stored(wide_config(), random_weights<double>(wide_config(), 1), 0x1p-52);
  StoredAttention exact = a;
  for_each_slot(exact.radius, [](auto& slot) { slot.setZero(); });
  StoredAttention other = exact;
  EXPECT_EQ(compare_constants(exact, other).ratio, 0);
  EXPECT_TRUE(compare_constants(exact, other).explained_by_rounding());
  other.weights.output_bias(0) += 1e-9;
  EXPECT_EQ(compare_constants(exact, other).ratio, std::numeric_limits<double>::infinity());
  EXPECT_FALSE(compare_constants(exact, other).explained_by_rounding());
}

TEST(RoundingRatio, ZeroCircuitsAgree) {
  AttentionConfig c{4, 1, 1, 2, 2};
  AttentionWeights<double> zero = random_weights<double>(c, 1);
  for_each_slot(zero, [](auto& slot) { slot.setZero(); });
  const StoredAttention module = stored(c, zero, f32);
  const CircuitComparison compared = compare(stored_qk_circuit(module, 0), stored_qk_circuit(module, 0));
  EXPECT_EQ(compared.ratio, 0);
  EXPECT_EQ(compared.resolution, 0);
  EXPECT_TRUE(compared.explained_by_rounding());
}

// By any of the four that are judged, and the largest is what reports say.
TEST(RoundingRatio, OneRatioOfFourIsEnough) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto member :
       {&CircuitComparison::ratio, &CircuitComparison::largest_frequency_ratio,
        &CircuitComparison::largest_row_ratio, &CircuitComparison::largest_column_ratio}) {
    CircuitComparison compared;
    compared.limit = compared.row_limit = compared.column_limit = 2;
    compared.ratio = 1;
    EXPECT_TRUE(compared.explained_by_rounding());
    compared.*member = 3;
    EXPECT_FALSE(compared.explained_by_rounding());
    EXPECT_EQ(compared.largest_ratio(), 3);
    compared.*member = nan;
    EXPECT_FALSE(compared.explained_by_rounding());
    EXPECT_TRUE(std::isnan(compared.largest_ratio()));
  }
}

// The variance that N7 predicts, against entries that are really moved within their radius.
TEST(Variance, PredictsTheSpreadOfPerturbedCircuits) {
  const AttentionConfig c = wide_config();
  const StoredAttention module = stored(c, random_weights<double>(c, 2), bf16);
  Random random(3);
  double squares = 0;
  constexpr int draws = 30;
  for (int draw = 0; draw < draws; ++draw) {
    AttentionWeights<double> moved = module.weights;
    for_each_slot(moved, [&](auto& slot) {
      for (Index i = 0; i < slot.size(); ++i) slot.data()[i] *= 1 + bf16 * random.uniform();
    });
    const double apart = difference_norms(qk_circuit(c, module.weights, 0), qk_circuit(c, moved, 0)).total;
    squares += apart * apart;
  }
  EXPECT_NEAR(std::sqrt(squares / draws) / rounding_noise(stored_qk_circuit(module, 0)), 1, 0.1);
}

TEST(Variance, UnitIsRecoveredFromIt) {
  const StoredAttention module = stored(wide_config(), random_weights<double>(wide_config(), 2), f16);
  EXPECT_NEAR(storage_unit(module), f16, 1e-6 * f16);
}

// One error that is all of a row may be 3^(1/2) deviations, and many never add up to as much.
TEST(Limit, IsThatOfFewErrorsWhereTheyAreFew) {
  constexpr double surprise = 20;
  const LineVariances one{1, 1, 1};
  EXPECT_NEAR(chance_limit(one, surprise, 0), typical_ratio * std::sqrt(41 + 2 * std::sqrt(20.0)), 1e-12);
  EXPECT_NEAR(chance_limit(one, surprise, 1), std::sqrt(3.0), 1e-12);
  const LineVariances many{1e6, 1e6, 1};
  EXPECT_EQ(chance_limit(many, surprise, 0), 2);
  EXPECT_EQ(chance_limit(LineVariances{}, surprise, 0), 2);
}

TEST(Limit, LeavesRoomForFloat32ArithmeticOnly) {
  EXPECT_DOUBLE_EQ(ratio_limit(32, f32), 2 * std::sqrt(1 + 32 * 64.0));
  EXPECT_NEAR(ratio_limit(32, bf16), 2, 1e-5);
  EXPECT_NEAR(ratio_limit(32, f16), 2, 1e-4);
  EXPECT_DOUBLE_EQ(ratio_limit(32, 0), 2);
}

// Gauges drawn, inverted and applied in the precision of the file, as a float32 tool does.
template <class S>
void expect_own_arithmetic_is_explained(const AttentionConfig& c, double unit) {
  for (const double condition : {1.0, 10.0, 100.0}) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      const auto a = stored(c, random_weights<double>(c, seed), unit);
      SampleOptions options;
      options.condition = condition;
      Random random(seed);
      const auto element = symmetry_of(c).sample<S>(random, options);
      const auto b = stored(c, cast<double>(act(element, cast<S>(a.weights))), unit);
      const Permutation image = head_image(element);
      for (Index head = 0; head < c.heads; ++head) {
        const auto qk = compare(stored_qk_circuit(a, head), stored_qk_circuit(b, image(head)));
        const auto vo = compare(stored_vo_circuit(a, head), stored_vo_circuit(b, image(head)));
        EXPECT_TRUE(qk.explained_by_rounding()) << qk.largest_ratio() << " of " << qk.limit;
        EXPECT_TRUE(vo.explained_by_rounding()) << vo.largest_ratio() << " of " << vo.limit;
      }
      EXPECT_TRUE(compare_constants(a, b).explained_by_rounding());
    }
  }
}

TEST(Limit, AcceptsFilesMadeInTheirOwnArithmetic) {
  AttentionConfig narrow{24, 4, 4, 6, 5};
  narrow.query_bias = narrow.key_bias = narrow.value_bias = narrow.output_bias = true;
  for (const AttentionConfig& c : {wide_config(), narrow}) {
    expect_own_arithmetic_is_explained<float>(c, f32);
    expect_own_arithmetic_is_explained<double>(c, 0x1p-53);
  }
}

}  // namespace
}  // namespace attnsym
