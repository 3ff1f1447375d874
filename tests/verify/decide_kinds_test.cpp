// Every kind of attention [N5]: verdicts.
#include "tests/support/attention_kinds.hpp"

#include <gtest/gtest.h>

#include "symmetry/centred.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "tests/support/wrong_move.hpp"
#include "verify/attend.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/decide.hpp"
#include "verify/exact.hpp"

namespace attnsym {
namespace {

using testing::attention_kinds;
using testing::AttentionKind;
using testing::bf16;
using testing::expect_distinct;
using testing::f32;
using testing::gauge;
using testing::random_weights;
using testing::stored;
using testing::tiny_config;
using testing::with_biases;
using testing::with_gates;
using testing::with_rotary;
using testing::with_sinks;
using testing::with_slopes;
using testing::with_softcap;
using testing::with_table;
using testing::WrongMove;

const std::vector<double> two{1.0, 0.3};

Matrix<double> tokens(Index rows = 6) { return fixed_probe<double>(rows, 6, 2); }

double relative(const Matrix<double>& a, const Matrix<double>& b) { return (a - b).norm() / a.norm(); }

AttentionElement<double> sample(const AttentionConfig& c, std::uint64_t seed = 11) {
  Random random(seed);
  return symmetry_of(c).sample<double>(random);
}

std::string verdict_of(const StoredAttention& a, const StoredAttention& b) {
  return name_of(decide_equivalence(a, b).verdict);
}

TEST(Decide, FindsTheMovedModuleEquivalent) {
  for (const AttentionKind& kind : attention_kinds()) {
    const AttentionConfig& c = kind.config;
    for (const double unit : {f32, bf16}) {
      const StoredAttention a = stored(c, random_weights<double>(c, 6), unit);
      EXPECT_EQ(verdict_of(a, a), "identical") << kind.name;
      const StoredAttention b = stored(c, act(sample(c), a.weights), unit);
      const Decision decision = decide_equivalence(a, b);
      const auto* equivalent = std::get_if<Equivalent>(&decision.verdict);
      ASSERT_NE(equivalent, nullptr) << kind.name << " at " << unit << " " << name_of(decision.verdict);
      EXPECT_EQ(std::holds_alternative<AttentionElement<double>>(equivalent->evidence), !c.output_gate)
          << kind.name;
      EXPECT_EQ(refute_equivalence(a, b, equivalent->evidence).value_or("holds"), "holds") << kind.name;
      // One rounding of a head's own gain, or of a coordinate that is gated, moves a whole column, by up to
      // 3^1/2 of its root mean square.
      const bool single = c.output_gate || (c.qk_norm && c.qk_norm->gains == QkGains::Own);
      EXPECT_LT(decision.rounding_ratio(), single ? std::sqrt(3) : 1.2) << kind.name;
    }
  }
}

TEST(Decide, ExactGaugesAreIdenticalAndExactlyEqual) {
  SampleOptions options;
  options.monomial = true;
  options.condition = 16;
  options.bias = false;
  for (const AttentionKind& kind : attention_kinds()) {
    Random random(8);
    const StoredAttention a = stored(kind.config, random_weights<double>(kind.config, 6), f32);
    const auto element = symmetry_of(kind.config).sample<double>(random, options);
    const StoredAttention b = stored(kind.config, act(element, a.weights), f32);
    EXPECT_EQ(verdict_of(a, b), "identical") << kind.name;
    EXPECT_STREQ(name_of(decide_exactly(a, b, 5).verdict), "identical") << kind.name;
    const auto moved = stored(kind.config, act(sample(kind.config), a.weights), f32);
    EXPECT_STREQ(name_of(decide_exactly(a, moved, 5).verdict), "distinct") << kind.name << ": rounded";
  }
}

Matrix<double> diagonal(double a, double b, double c, double d) {
  RowVector<double> entries(4);
  entries << a, b, c, d;
  return entries.asDiagonal();
}

std::vector<WrongMove> wrong_moves() {
  const AttentionConfig rotary = with_rotary(tiny_config(2, 2), two);
  const AttentionConfig gqa = tiny_config(4, 2);
  const AttentionConfig biased = with_biases(tiny_config(2, 2));
  return {
      {"a generic gauge in rotary pairs", rotary,
       [](StoredAttention& m) {
         gauge(m, Matrix<double>::Identity(4, 4) + fixed_probe<double>(4, 4, 1) / 2);
       }},
      {"a real scale in a rotary pair", rotary, [](StoredAttention& m) { gauge(m, diagonal(2, 1, 1, 1)); }},
      {"a reflection in a rotary pair", rotary, [](StoredAttention& m) { gauge(m, diagonal(1, 1, -1, 1)); }},
      {"two rotary pairs swapped", rotary,
       [](StoredAttention& m) {
         gauge(m, Matrix<double>::Identity(4, 4)(std::vector<Index>{1, 0, 3, 2}, Eigen::all));
       }},
      {"another rotary base", rotary, [](StoredAttention& m) { m.config.rotary.frequencies[1] = 0.2; }},
      {"interleaved weights read as half-split", rotary,
       [](StoredAttention& m) { m.config.rotary.layout = PairLayout::Interleaved; }},
      {"readers swapped across groups", gqa,
       [](StoredAttention& m) { std::swap(m.weights.groups[0].readers[0], m.weights.groups[1].readers[0]); }},
      {"readers grouped modulo instead of in blocks", gqa,
       [](StoredAttention& m) { std::swap(m.weights.groups[0].readers[1], m.weights.groups[1].readers[0]); }},
      {"a key bias shift under rotary positions", with_rotary(biased, two),
       [](StoredAttention& m) { m.weights.groups[0].key_bias(1) += 1; }},
      {"a key bias shift under a softcap", with_softcap(biased),
       [](StoredAttention& m) { m.weights.groups[0].key_bias(1) += 1; }},
      {"a key bias shift beside a sink", with_sinks(biased),
       [](StoredAttention& m) { m.weights.groups[0].key_bias(1) += 1; }},
      {"a value bias moved beside a sink", with_sinks(biased),
       [](StoredAttention& m) {
         auto& group = m.weights.groups[0];
         m.weights.output_bias += group.value_bias * group.readers[0].output;
         group.value_bias.setZero();
       }},
      {"ALiBi heads swapped without their slopes", with_slopes(tiny_config(2, 2)),
       [](StoredAttention& m) { std::swap(m.weights.groups[0], m.weights.groups[1]); }},
      {"heads swapped without their tables", with_table(tiny_config(2, 2)),
       [](StoredAttention& m) {
         std::swap(m.weights.groups[0].readers[0].distance_bias,
                   m.weights.groups[1].readers[0].distance_bias);
       }},
      {"one number of a table", with_table(tiny_config(2, 2)),
       [](StoredAttention& m) { m.weights.groups[0].readers[0].distance_bias(2) += 0.5; }},
      {"a table shifted under a softcap", with_softcap(with_table(tiny_config(2, 2))),
       [](StoredAttention& m) { m.weights.groups[0].readers[0].distance_bias.array() += 2; }},
      {"a table shifted beside a sink", with_sinks(with_table(tiny_config(2, 2))),
       [](StoredAttention& m) { m.weights.groups[0].readers[0].distance_bias.array() += 2; }},
      {"no table", with_table(tiny_config(2, 2)),
       [](StoredAttention& m) {
         m.config.distance_buckets.clear();
         for (auto& group : m.weights.groups) group.readers[0].distance_bias.resize(0);
       }},
      {"a generic gauge of gated values", with_gates(tiny_config(2, 2)),
       [](StoredAttention& m) {
         const Matrix<double> mixed = Matrix<double>::Identity(3, 3) + fixed_probe<double>(3, 3, 1) / 2;
         auto& group = m.weights.groups[0];
         group.value = group.value * mixed.transpose();
         group.readers[0].output = mixed.transpose().inverse() * group.readers[0].output;
       }},
      {"gated values swapped without their gates", with_gates(tiny_config(2, 2)),
       [](StoredAttention& m) {
         auto& group = m.weights.groups[0];
         group.value.col(0).swap(group.value.col(1));
         group.readers[0].output.row(0).swap(group.readers[0].output.row(1));
       }},
      {"a column of a gate scaled", with_gates(tiny_config(2, 2)),
       [](StoredAttention& m) { m.weights.groups[0].readers[0].gate.col(1) *= -1; }},
      {"a value bias moved behind gates", with_gates(with_biases(tiny_config(2, 2))),
       [](StoredAttention& m) {
         auto& group = m.weights.groups[0];
         m.weights.output_bias += group.value_bias * group.readers[0].output;
         group.value_bias.setZero();
       }},
      {"another softcap", with_softcap(tiny_config(2, 2)), [](StoredAttention& m) { m.config.softcap = 2; }},
      {"no softcap", with_softcap(tiny_config(2, 2)), [](StoredAttention& m) { m.config.softcap = 0; }},
      {"another sink", with_sinks(tiny_config(2, 2)),
       [](StoredAttention& m) { m.weights.groups[0].readers[0].sink(0) += 0.5; }},
      {"a causal mask", tiny_config(2, 2), [](StoredAttention& m) { m.config.causal = true; }},
      {"another scale", rotary, [](StoredAttention& m) { m.config.scale = 0.4; }},
  };
}

TEST(Decide, FindsWrongMovesDistinctWithAWitness) {
  for (const WrongMove& wrong : wrong_moves())
    expect_distinct(wrong, random_weights<double>(wrong.config, 6));
}

// A pair of small numbers has small rounding errors: those of the other pairs do not explain that it is
// wrong.
TEST(Decide, JudgesEveryFrequencyByItsOwnRounding) {
  const AttentionConfig c = with_rotary(AttentionConfig{24, 2, 2, 8, 4}, {1.0, 0.5, 0.2, 0.1});
  auto w = random_weights<double>(c, 6);
  for (auto& group : w.groups) {
    for (const Index column : {3, 7}) {
      group.key.col(column) *= 0.01;
      group.readers[0].query.col(column) *= 0.01;
    }
  }
  const StoredAttention a = stored(c, w, bf16);
  StoredAttention b = a;  // the smallest pair of every head is reflected
  for (auto& group : b.weights.groups) group.key.col(7) *= -1;
  EXPECT_NE(verdict_of(a, b), "equivalent");
  const StoredAttention moved = stored(c, act(sample(c), a.weights), bf16);
  EXPECT_EQ(verdict_of(a, moved), "equivalent");
  StoredAttention wrong = moved;
  for (auto& group : wrong.weights.groups) group.key.col(7) *= -1;
  const Decision decision = decide_equivalence(a, wrong);
  EXPECT_STRNE(name_of(decision.verdict), "equivalent");
  const Decision same = decide_equivalence(a, moved);
  const EqualityEvidence& evidence = std::get<Equivalent>(same.verdict).evidence;
  EXPECT_TRUE(refute_equivalence(a, wrong, evidence).has_value());
}

TEST(Decide, SlopesMayTravelWithTheirHeads) {
  const AttentionConfig c = with_slopes(tiny_config(2, 2));
  const StoredAttention a = stored(c, random_weights<double>(c, 6), f32);
  StoredAttention b = a;
  std::swap(b.weights.groups[0], b.weights.groups[1]);
  std::swap(b.radius.groups[0], b.radius.groups[1]);
  std::swap(b.config.slopes[0], b.config.slopes[1]);
  EXPECT_EQ(verdict_of(a, b), "equivalent");
}

// Shifts of tables, numbers that nothing reads, other buckets for the same offsets, and a table of which
// nothing is seen.
TEST(Decide, TablesAreComparedByWhatTheyAdd) {
  AttentionConfig c = with_table(testing::with_causal_mask(tiny_config(2, 2)));
  const StoredAttention a = stored(c, random_weights<double>(c, 6), bf16);
  StoredAttention b = a;
  b.weights.groups[0].readers[0].distance_bias.array() += 0.5;
  b.weights.groups[1].readers[0].distance_bias(7) += 1;
  const StoredAttention rounded = stored(c, b.weights, bf16);
  EXPECT_EQ(verdict_of(a, rounded), "equivalent");
  EXPECT_STREQ(name_of(decide_exactly(a, b, 5).verdict), "equivalent");
  EXPECT_STREQ(name_of(decide_exactly(a, rounded, 5).verdict), "distinct");

  StoredAttention other = a;
  other.config.distance_buckets = {4, 4, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0};  // offsets -4 and beyond are one
  for (auto* weights : {&other.weights, &other.radius}) {
    for (auto& group : weights->groups) {
      RowVector<double>& table = group.readers[0].distance_bias;
      table = RowVector<double>(table.head(5).reverse());
    }
  }
  EXPECT_EQ(verdict_of(a, other), "equivalent");
  EXPECT_STREQ(name_of(decide_exactly(a, other, 5).verdict), "equivalent");

  StoredAttention constant = a;
  StoredAttention none = a;
  none.config.distance_buckets.clear();
  for (std::size_t j = 0; j < 2; ++j) {
    constant.weights.groups[j].readers[0].distance_bias.setConstant(0.75);
    none.weights.groups[j].readers[0].distance_bias.resize(0);
    none.radius.groups[j].readers[0].distance_bias.resize(0);
  }
  EXPECT_EQ(verdict_of(constant, none), "equivalent");
  EXPECT_STREQ(name_of(decide_exactly(constant, none, 5).verdict), "equivalent");
}

// What centred tokens do not see may be added to Q, K and V; a witness of what they see is centred.
TEST(Decide, CentredInputsDoNotSeeColumnsShifted) {
  const AttentionConfig c = testing::with_centred_inputs(with_rotary(with_biases(tiny_config(4, 2)), two));
  const StoredAttention a = stored(c, random_weights<double>(c, 6), f32);
  StoredAttention b = a;
  b.weights.groups[0].key.array().rowwise() += 0.5 * fixed_probe<double>(1, 4, 3).row(0).array();
  b.weights.groups[0].value.array().col(1) += 1.0 / 3;
  b.weights.groups[1].readers[0].query.array().col(2) -= 0.75;
  const StoredAttention shifted = stored(c, b.weights, f32);
  const Decision same = decide_equivalence(a, shifted);
  const auto* equivalent = std::get_if<Equivalent>(&same.verdict);
  ASSERT_NE(equivalent, nullptr) << name_of(same.verdict);
  EXPECT_EQ(refute_equivalence(a, shifted, equivalent->evidence).value_or("holds"), "holds");
  StoredAttention everywhere_a = a;
  StoredAttention everywhere_b = shifted;
  everywhere_a.config.centred_inputs = everywhere_b.config.centred_inputs = false;
  EXPECT_EQ(verdict_of(everywhere_a, everywhere_b), "distinct");
  EXPECT_THROW(decide_equivalence(a, everywhere_b), ShapeError);

  StoredAttention exactly = a;
  exactly.weights.groups[0].value.array().col(1) += 1.25;  // not rounded: 24 bits and a few
  EXPECT_STREQ(name_of(decide_exactly(a, exactly, 5).verdict), "equivalent");
  EXPECT_STREQ(name_of(decide_exactly(a, shifted, 5).verdict), "distinct");

  StoredAttention wrong = a;
  wrong.weights.groups[0].value(1, 1) += 0.5;
  const Decision other = decide_equivalence(a, wrong);
  const auto* distinct = std::get_if<Distinct>(&other.verdict);
  ASSERT_NE(distinct, nullptr);
  EXPECT_TRUE(is_centred(distinct->witness.input));
  EXPECT_FALSE(refute_witness(a, wrong, distinct->witness.input).has_value());
  EXPECT_TRUE(refute_witness(a, wrong, distinct->witness.input.array() + 1).has_value());
  EXPECT_GT(exact_gap_at_least(a, wrong, distinct->witness.input), 0);
  EXPECT_EQ(exact_gap_at_least(a, wrong, distinct->witness.input.array() + 1), 0);
}

// Coordinates of one gate may trade values, across heads that attend alike too.
TEST(Decide, GatedCoordinatesAreComparedOneByOne) {
  const AttentionConfig c = with_gates(with_biases(tiny_config(2, 2)), true);
  auto w = random_weights<double>(c, 6);
  w.groups[1].key = w.groups[0].key;
  w.groups[1].readers[0].query = w.groups[0].readers[0].query;
  w.groups[1].readers[0].query_bias = w.groups[0].readers[0].query_bias;
  for (auto* group : {&w.groups[0], &w.groups[1]}) {
    group->readers[0].gate.col(1) = w.groups[0].readers[0].gate.col(0);
    group->readers[0].gate_bias(1) = w.groups[0].readers[0].gate_bias(0);
  }
  const StoredAttention a = stored(c, w, f32);
  StoredAttention b = a;
  // v1 o1 + v1' o1' with v1' = v1 + u: dealt out otherwise as v1 (o1 + o1') + u o1'.
  b.weights.groups[0].readers[0].output.row(1) += a.weights.groups[1].readers[0].output.row(1);
  b.weights.groups[1].value.col(1) -= a.weights.groups[0].value.col(1);
  b.weights.groups[1].value_bias(1) -= a.weights.groups[0].value_bias(1);
  b = stored(c, b.weights, f32);
  const Decision decision = decide_equivalence(a, b);
  const auto* equivalent = std::get_if<Equivalent>(&decision.verdict);
  ASSERT_NE(equivalent, nullptr) << name_of(decision.verdict);
  EXPECT_EQ(refute_equivalence(a, b, equivalent->evidence).value_or("holds"), "holds");
  StoredAttention wrong = b;
  wrong.weights.groups[1].readers[0].gate(2, 1) += 0.25;
  EXPECT_TRUE(refute_equivalence(a, wrong, equivalent->evidence).has_value());
  EXPECT_EQ(verdict_of(a, wrong), "distinct");

  StoredAttention exactly = a;  // o1' taken over by the first head, from values that are equal
  exactly.weights.groups[1].value.col(1) = exactly.weights.groups[0].value.col(1);
  exactly.weights.groups[1].value_bias(1) = exactly.weights.groups[0].value_bias(1);
  StoredAttention merged = exactly;
  merged.weights.groups[0].readers[0].output.row(1) += exactly.weights.groups[1].readers[0].output.row(1);
  merged.weights.groups[1].readers[0].output.row(1).setZero();
  EXPECT_STREQ(name_of(decide_exactly(exactly, merged, 5).verdict), "equivalent");
  merged.weights.groups[1].readers[0].gate(0, 0) += 0x1p-30;
  EXPECT_STREQ(name_of(decide_exactly(exactly, merged, 5).verdict), "distinct");
}

// v o sigmoid(z) + v o sigmoid(-z) = v o whatever z: equal functions that coordinates do not show.
TEST(Decide, LeavesOpenWhetherGatesCancel) {
  const AttentionConfig c = with_gates(tiny_config(1, 1));
  auto w = random_weights<double>(c, 6);
  auto& group = w.groups[0];
  group.value.col(1) = group.value.col(0);
  group.readers[0].output.row(1) = group.readers[0].output.row(0);
  group.readers[0].gate.col(1) = -group.readers[0].gate.col(0);
  const StoredAttention a = stored(c, w, f32);
  group.readers[0].gate.col(0) = group.readers[0].gate.col(2);
  group.readers[0].gate.col(1) = -group.readers[0].gate.col(2);
  const StoredAttention b = stored(c, w, f32);
  EXPECT_LT(relative(attend(c, a.weights, tokens()), attend(c, b.weights, tokens())), 1e-14);
  EXPECT_EQ(verdict_of(a, b), "undecided");
  EXPECT_STREQ(name_of(decide_exactly(a, b, 5).verdict), "undecided");
}

// A window that both tables reach across, one of them much further.
TEST(Decide, TablesAreNotReadBeyondTheWindow) {
  AttentionConfig c = with_table(tiny_config(2, 2));
  c.window = 3;
  const StoredAttention a = stored(c, random_weights<double>(c, 6), f32);
  StoredAttention b = a;
  b.weights.groups[0].readers[0].distance_bias(0) += 1;
  b.weights.groups[0].readers[0].distance_bias(8) -= 1;
  EXPECT_EQ(verdict_of(a, b), "equivalent");
  b.weights.groups[0].readers[0].distance_bias(6) -= 1;
  EXPECT_EQ(verdict_of(a, b), "distinct");
}

// The same weights in the other convention of pairs.
TEST(Decide, InterleavedColumnsReorderedAreHalfSplit) {
  const AttentionConfig half = with_rotary(tiny_config(4, 2), two);
  const AttentionConfig interleaved = with_rotary(tiny_config(4, 2), two, PairLayout::Interleaved);
  const StoredAttention a = stored(interleaved, random_weights<double>(interleaved, 6), bf16);
  StoredAttention b{half, a.weights, a.radius};
  const std::vector<Index> order{0, 2, 1, 3};
  for (auto* weights : {&b.weights, &b.radius}) {
    for (auto& group : weights->groups) {
      group.key = Matrix<double>(group.key(Eigen::all, order));
      for (auto& reader : group.readers) reader.query = Matrix<double>(reader.query(Eigen::all, order));
    }
  }
  EXPECT_EQ(verdict_of(a, b), "equivalent");
}

TEST(Decide, GroupsWrittenOutAreTheSameAsMultiHeadAttention) {
  const AttentionConfig grouped = with_rotary(with_biases(tiny_config(4, 2)), two);
  AttentionConfig written_out = grouped;
  written_out.groups = 4;
  const StoredAttention a = stored(grouped, random_weights<double>(grouped, 6), bf16);
  const auto write_out = [](const AttentionWeights<double>& w) {
    AttentionWeights<double> result{{}, w.output_bias};
    for (const auto& group : w.groups) {
      for (const auto& reader : group.readers)
        result.groups.push_back({group.key, group.value, group.key_bias, group.value_bias, {reader}});
    }
    return result;
  };
  const StoredAttention b{written_out, write_out(a.weights), write_out(a.radius)};
  EXPECT_EQ(verdict_of(a, b), "equivalent");
}

// A number that is judged against its own rounding may be open by more than a weight can bear.
TEST(Decide, LargeTablesAreTooCoarse) {
  const AttentionConfig c = with_table(tiny_config(2, 2));
  for (const double size : {1.0, 1e6}) {
    auto w = random_weights<double>(c, 6);
    w.groups[0].readers[0].distance_bias.array() += size;
    const StoredAttention a = stored(c, w, f32);
    double& number = w.groups[0].readers[0].distance_bias(3);
    number = std::nextafter(static_cast<float>(number), 1e9F);
    const StoredAttention b = stored(c, w, f32);
    EXPECT_EQ(verdict_of(a, b), size == 1 ? "equivalent" : "undecided") << size;
  }
}

// Rows that see one other token at most see less than the reduced form [N3]: softmax over two is odd but for
// a constant, and over one it is 1. Forms that differ prove nothing there.
TEST(Decide, NarrowWindowsLeaveOpenWhatTheyDoNotSee) {
  AttentionConfig c = testing::with_causal_mask(tiny_config(2, 2));
  auto w = random_weights<double>(c, 6);
  w.groups[1].readers[0].query.setZero();
  w.groups[1].readers[0].output.setZero();
  auto mirrored = w;
  mirrored.groups[0].readers[0].query *= -1;
  mirrored.groups[0].readers[0].output *= -1;
  mirrored.groups[1].value = w.groups[0].value;
  mirrored.groups[1].readers[0].output = 2 * w.groups[0].readers[0].output;
  auto other_scores = w;
  other_scores.groups[0].key *= 3;
  const auto expect = [&](Index window, const AttentionWeights<double>& other, const char* verdict) {
    c.window = window;
    const StoredAttention a = stored(c, w, f32);
    const StoredAttention b = stored(c, other, f32);
    const Decision decision = decide_equivalence(a, b);
    EXPECT_STREQ(name_of(decision.verdict), verdict) << window;
    const ExactDecision exact = decide_exactly(a, b, 5);
    ASSERT_STREQ(name_of(exact.verdict), verdict) << window;
    if (const auto* undecided = std::get_if<Undecided>(&exact.verdict)) {
      EXPECT_LT(relative(attend(c, a.weights, tokens()), attend(c, b.weights, tokens())), 1e-14);
      EXPECT_EQ(undecided->reason.find("different functions"), std::string::npos) << undecided->reason;
    }
  };
  expect(1, mirrored, "undecided");
  expect(1, other_scores, "undecided");
  expect(2, mirrored, "undecided");
  expect(2, other_scores, "distinct");
  expect(3, mirrored, "distinct");
  expect(0, mirrored, "distinct");
}

}  // namespace
}  // namespace attnsym
