// Verdicts on pairs with known truth. `distinct` and the two yes-answers are never wrong; what is degenerate
// is `undecided`.
#include "verify/decide.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "symmetry/errors.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/stored_circuit.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f16;
using testing::f32;
using testing::random_weights;
using testing::stored;

AttentionConfig config_of(Index h, Index g, bool biases = true) {
  AttentionConfig c{24, h, g, 6, 5};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = biases;
  c.scale = 0.4;
  return c;
}

const AttentionConfig mha = config_of(4, 4);
const AttentionConfig gqa = config_of(6, 3);
const AttentionConfig mqa = config_of(3, 1);

std::string verdict_of(const Decision& decision) { return name_of(decision.verdict); }

std::string verdict_of(const StoredAttention& a, const StoredAttention& b) {
  return verdict_of(decide_equivalence(a, b));
}

std::string reason_of(const Decision& decision) {
  const auto* undecided = std::get_if<Undecided>(&decision.verdict);
  return undecided == nullptr ? "" : undecided->reason;
}

const AttentionElement<double>& change_of_basis(const Decision& decision) {
  return std::get<AttentionElement<double>>(std::get<Equivalent>(decision.verdict).evidence);
}

// A random module, f32 unless said otherwise.
StoredAttention module(const AttentionConfig& c, std::uint64_t seed = 1, double unit = f32) {
  return stored(c, random_weights<double>(c, seed), unit);
}

AttentionElement<double> sample(const AttentionConfig& c, SampleOptions options = {},
                                std::uint64_t seed = 5) {
  Random random(seed);
  return symmetry_of(c).sample<double>(random, options);
}

StoredAttention moved(const StoredAttention& a, const AttentionElement<double>& g, double unit = f32) {
  return stored(a.config, act(g, a.weights), unit);
}

template <class Edit>
StoredAttention edited(StoredAttention a, Edit edit) {
  edit(a.weights);
  return a;
}

TEST(Identical, ItselfAndExactGauges) {
  SampleOptions heads_only;
  heads_only.qk = heads_only.vo = heads_only.bias = false;
  SampleOptions monomial;
  monomial.monomial = true;
  monomial.bias = false;
  monomial.condition = 16;
  for (const AttentionConfig& c : {mha, gqa, mqa, config_of(4, 4, false)}) {
    const StoredAttention a = module(c);
    EXPECT_EQ(verdict_of(a, a), "identical");
    for (const SampleOptions& options : {heads_only, monomial}) {
      const auto g = sample(c, options);
      const StoredAttention b = moved(a, g);
      const Decision decision = decide_equivalence(a, b);
      ASSERT_EQ(verdict_of(decision), "identical");
      const auto& found = std::get<Identical>(decision.verdict).b_from_a;
      EXPECT_EQ(act(found, a.weights), b.weights);
      EXPECT_EQ(head_image(found), head_image(g));
    }
  }
}

TEST(Equivalent, GaugesOfEveryConditionAndPrecision) {
  for (const AttentionConfig& c : {mha, gqa, mqa, config_of(4, 4, false)}) {
    for (const double unit : {0x1p-53, f32, f16}) {
      for (const double condition : {1.0, 10.0, 100.0}) {
        SampleOptions options;
        options.condition = condition;
        const StoredAttention a = module(c, 2, unit);
        const auto g = sample(c, options);
        const Decision decision = decide_equivalence(a, moved(a, g, unit));
        ASSERT_EQ(verdict_of(decision), "equivalent") << reason_of(decision);
        EXPECT_EQ(head_image(change_of_basis(decision)), head_image(g));
        EXPECT_NEAR(decision.gauge_condition.value(), condition, 0.1 * condition);
      }
    }
  }
}

TEST(Equivalent, FilesOfDifferentPrecision) {
  const StoredAttention a = module(mha);
  EXPECT_EQ(verdict_of(a, moved(a, sample(mha), f16)), "equivalent");
  EXPECT_EQ(verdict_of(moved(a, sample(mha), f16), a), "equivalent");
}

TEST(Equivalent, BiasMoves) {
  const StoredAttention a = module(mha);
  EXPECT_EQ(verdict_of(a, edited(a, [](auto& w) { w.groups[1].key_bias.array() += 0.5; })), "equivalent");
  const StoredAttention b = edited(a, [](auto& w) {
    w.output_bias += w.groups[2].value_bias * w.groups[2].readers[0].output;
    w.groups[2].value_bias.setZero();
  });
  EXPECT_EQ(verdict_of(a, stored(b.config, b.weights, f32)), "equivalent");
}

TEST(Equivalent, AnAbsentBiasIsAZeroBias) {
  const StoredAttention without = module(config_of(4, 4, false));
  EXPECT_EQ(verdict_of(without, with_all_biases(without)), "identical");
}

TEST(Equivalent, TinyShapes) {
  for (const auto& [d, h, dk, dv] :
       {std::array<Index, 4>{1, 1, 1, 1}, {2, 1, 1, 1}, {3, 2, 1, 2}, {5, 1, 5, 5}}) {
    AttentionConfig c{d, h, h, dk, dv};
    c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
    const StoredAttention a = module(c, 3);
    const Decision decision = decide_equivalence(a, moved(a, sample(c)));
    EXPECT_EQ(verdict_of(decision), "equivalent") << d << ' ' << h << ' ' << reason_of(decision);
    EXPECT_EQ(verdict_of(a, module(c, 4)), "distinct");
  }
}

// Whether the witness really separates, in an evaluation of our own at 50 digits.
void expect_genuine(const Witness& witness, const StoredAttention& a, const StoredAttention& b) {
  EXPECT_GE(witness.input.rows(), 3);
  EXPECT_GE(witness.gap, 10 * witness.noise);
  const Matrix<Float50> input = witness.input.cast<Float50>();
  const auto output = [&](const StoredAttention& m) {
    return attend(m.config, cast<Float50>(m.weights), input);
  };
  EXPECT_NEAR(static_cast<double>((output(a) - output(b)).norm()), witness.gap, 1e-6 * witness.gap);
}

void expect_distinct(const StoredAttention& a, const StoredAttention& b, const char* what) {
  const Decision decision = decide_equivalence(a, b);
  ASSERT_EQ(verdict_of(decision), "distinct") << what << ": " << reason_of(decision);
  expect_genuine(std::get<Distinct>(decision.verdict).witness, a, b);
}

TEST(Distinct, EverySlipAndEdit) {
  const StoredAttention a = module(mha);
  const auto edit = [&](const char* what, auto change) { expect_distinct(a, edited(a, change), what); };
  edit("one query weight", [](auto& w) { w.groups[2].readers[0].query(3, 1) += 0.006; });
  edit("one key weight", [](auto& w) { w.groups[2].key(3, 1) += 0.006; });
  edit("one value weight", [](auto& w) { w.groups[2].value(3, 1) += 0.006; });
  edit("one output weight", [](auto& w) { w.groups[2].readers[0].output(1, 3) += 0.006; });
  edit("query bias", [](auto& w) { w.groups[0].readers[0].query_bias(0) += 0.01; });
  edit("value bias", [](auto& w) { w.groups[0].value_bias(0) += 0.01; });
  edit("output bias", [](auto& w) { w.output_bias(0) += 0.01; });
  edit("re-paired V and O", [](auto& w) {
    std::swap(w.groups[0].value, w.groups[1].value);
    std::swap(w.groups[0].readers[0].output, w.groups[1].readers[0].output);
  });
  edit("V swapped alone", [](auto& w) { std::swap(w.groups[0].value, w.groups[1].value); });
  edit("query and key swapped", [](auto& w) { std::swap(w.groups[0].key, w.groups[0].readers[0].query); });
  edit("negated query", [](auto& w) { w.groups[0].readers[0].query *= -1; });
  edit("doubled scale", [](auto& w) {
    for (auto& group : w.groups) group.readers[0].query *= 2;
  });
  edit("a gauge on the keys only", [](auto& w) { w.groups[0].key *= fixed_probe<double>(6, 6, 1); });
}

TEST(Distinct, NamesTheHead) {
  const StoredAttention a = module(mha);
  const auto g = sample(mha);
  const StoredAttention b = edited(moved(a, g), [&](auto& w) { w.groups[g.top(2)].key(3, 1) += 0.01; });
  const Decision decision = decide_equivalence(a, b);
  ASSERT_EQ(verdict_of(decision), "distinct");
  EXPECT_EQ(decision.worst_head, 2);
  EXPECT_EQ(decision.heads[2].image, g.top(2));
}

TEST(Distinct, NamesTheConstantWhereTheHeadsAgree) {
  const StoredAttention a = module(mha);
  const Decision decision = decide_equivalence(a, edited(a, [](auto& w) { w.output_bias(0) += 0.01; }));
  ASSERT_EQ(verdict_of(decision), "distinct");
  EXPECT_TRUE(decision.heads_agree());
  EXPECT_NE(describe_difference(decision).find("constant"), std::string::npos);
}

TEST(Distinct, ReadersSwappedAcrossGroups) {
  const StoredAttention a = module(gqa);
  expect_distinct(a, edited(a, [](auto& w) { std::swap(w.groups[0].readers[0], w.groups[1].readers[0]); }),
                  "wreath");
}

TEST(Distinct, AcrossShapes) {
  expect_distinct(module(mha), module(gqa, 2), "heads and groups");
  StoredAttention causal = module(mha);
  causal.config.causal = true;
  expect_distinct(module(mha), causal, "mask");
  StoredAttention scaled = module(mha);
  scaled.config.scale *= 2;
  expect_distinct(module(mha), scaled, "scale");
}

// {(M, N)} and {(-M, -N), (0, 2N)} agree on sequences of length 1 and 2 and part at length 3 [N3].
TEST(Distinct, TheLengthTwoTrap) {
  AttentionConfig one{6, 1, 1, 3, 3};
  AttentionConfig two = one;
  two.heads = two.groups = 2;
  const StoredAttention a = module(one, 1, 0x1p-30);
  StoredAttention b = stored(two, random_weights<double>(two, 1), 0x1p-30);
  const auto& head = a.weights.groups[0];
  b.weights.groups[0] = head;
  b.weights.groups[0].readers[0].query *= -1;
  b.weights.groups[0].readers[0].output *= -1;
  b.weights.groups[1] = head;
  b.weights.groups[1].key.setZero();
  b.weights.groups[1].readers[0].output *= 2;
  const Matrix<double> pair = fixed_probe<double>(2, 6, 3);
  EXPECT_LT((attend(one, a.weights, pair) - attend(two, b.weights, pair)).norm(), 1e-14);
  expect_distinct(a, b, "length three");
}

TEST(Undecided, CoarseResolution) {
  SampleOptions options;
  options.condition = 1000;
  const StoredAttention a = module(mha);
  const Decision decision = decide_equivalence(a, moved(a, sample(mha, options), bf16));
  EXPECT_EQ(verdict_of(decision), "undecided");
  EXPECT_NE(reason_of(decision).find("resolution"), std::string::npos) << reason_of(decision);
}

TEST(Distinct, VisibleThroughACoarseResolution) {
  SampleOptions options;
  options.condition = 100;
  const StoredAttention a = module(mha);
  const StoredAttention b = moved(module(mha, 9), sample(mha, options), bf16);
  EXPECT_GT(decide_equivalence(a, b).resolution(), 0.05);
  expect_distinct(a, b, "unrelated modules");
}

// Equal functions that share no orbit, or whose gauges are not determined: the evidence is a matching of
// merged circuits, or a gauge that is one of many; the checker accepts it.
void expect_equivalent(const StoredAttention& a, const StoredAttention& b, bool by_classes) {
  for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
    const Decision decision = decide_equivalence(from, to);
    ASSERT_EQ(verdict_of(decision), "equivalent") << reason_of(decision);
    const EqualityEvidence& evidence = std::get<Equivalent>(decision.verdict).evidence;
    EXPECT_EQ(std::holds_alternative<HeadClasses>(evidence), by_classes);
    const CheckedEquivalence checked = check_equivalence(from, to, evidence);
    EXPECT_EQ(checked.refutation, std::nullopt);
    EXPECT_LE(checked.resolution, coarsest_resolution);
  }
}

TEST(Degenerate, CoincidentHeadsWithMixedOutputs) {
  const StoredAttention a = edited(module(mha), [](auto& w) {
    w.groups[1].key = w.groups[0].key;
    w.groups[1].key_bias = w.groups[0].key_bias;
    w.groups[1].readers[0].query = w.groups[0].readers[0].query;
    w.groups[1].readers[0].query_bias = w.groups[0].readers[0].query_bias;
    w.groups[1].value = w.groups[0].value;
    w.groups[1].value_bias = w.groups[0].value_bias;
  });
  const auto mix = [&](double undone) {
    return edited(a, [&](auto& w) {
      const Matrix<double> part = 0.25 * w.groups[0].readers[0].output;
      w.groups[0].readers[0].output -= part;
      w.groups[1].readers[0].output += undone * part;
    });
  };
  expect_equivalent(a, mix(1), true);
  expect_distinct(a, mix(0.99), "the sum differs by 0.25 % of one head");
}

TEST(Degenerate, DeadHeadsWithArbitraryQueries) {
  const StoredAttention a = edited(module(mha), [](auto& w) { w.groups[1].readers[0].output.setZero(); });
  const StoredAttention b = edited(a, [](auto& w) { w.groups[1].key = fixed_probe<double>(24, 6, 77); });
  expect_equivalent(a, b, true);
}

TEST(Degenerate, RankDeficientQueries) {
  const StoredAttention a = edited(module(mha), [](auto& w) { w.groups[1].key.col(2).setZero(); });
  const StoredAttention b = edited(a, [](auto& w) { w.groups[1].readers[0].query.col(2).setConstant(0.3); });
  expect_equivalent(a, b, false);
}

TEST(Degenerate, AZeroHeadMore) {
  const StoredAttention a = module(mha);
  StoredAttention b = stored(config_of(5, 5), random_weights<double>(config_of(5, 5), 1), f32);
  for (int j = 0; j < 4; ++j) b.weights.groups[j] = a.weights.groups[j];
  b.weights.groups[4].readers[0].output.setZero();
  b.weights.output_bias = a.weights.output_bias;
  expect_equivalent(a, b, true);
}

TEST(Degenerate, IdenticalAllTheSame) {
  const StoredAttention a = edited(module(mha), [](auto& w) {
    w.groups[1].key.col(2).setZero();
    w.groups[2].readers[0].output.setZero();
    w.groups[3] = w.groups[0];
  });
  EXPECT_EQ(verdict_of(a, a), "identical");
}

// Weights whose products leave the range of double: never a wrong answer, and equality is still seen.
TEST(ExtremeRange, IsDecidedLikeAnyOther) {
  for (const AttentionConfig& c : {config_of(4, 4, false), config_of(6, 3, false)}) {
    for (const double size : {1e160, 1e-85, 1e-170, 1e300}) {
      const auto scaled = [&](std::uint64_t seed) {
        AttentionWeights<double> w = random_weights<double>(c, seed);
        for_each_slot(w, [&](auto& slot) { slot *= size; });
        return stored(c, w, f32);
      };
      const StoredAttention a = scaled(1);
      EXPECT_EQ(verdict_of(a, a), "identical") << size;
      EXPECT_EQ(verdict_of(a, moved(a, sample(c))), "equivalent") << size;
      const std::string other = verdict_of(a, scaled(2));
      EXPECT_TRUE(other == "distinct" || other == "undecided") << size << ' ' << other;
      const StoredAttention nudged = edited(a, [&](auto& w) { w.groups[1].key(3, 2) += 0.01 * size; });
      const std::string edit = verdict_of(a, nudged);
      EXPECT_TRUE(edit == "distinct" || edit == "undecided") << size << ' ' << edit;
    }
  }
}

// A row a million times larger than the rest does not hide an edit elsewhere.
TEST(Distinct, BesideAnOutlier) {
  const StoredAttention a = edited(module(mha), [](auto& w) { w.groups[1].key.row(5) *= 1e6; });
  const StoredAttention clean = stored(a.config, a.weights, f32);
  expect_distinct(clean, edited(clean, [](auto& w) { w.groups[1].key(3, 1) += 0.01; }), "small row");
  expect_distinct(clean, edited(clean, [](auto& w) { w.groups[1].readers[0].query(3, 1) += 0.01; }), "query");
}

TEST(BrokenInput, IsRefused) {
  AttentionConfig narrow = mha;
  narrow.model_width = 20;
  EXPECT_THROW(decide_equivalence(module(mha), module(narrow)), ShapeError);
  const StoredAttention nan =
      edited(module(mha), [](auto& w) { w.groups[0].key(0, 0) = std::numeric_limits<double>::quiet_NaN(); });
  EXPECT_THROW(decide_equivalence(module(mha), nan), FormatError);
  EXPECT_THROW(decide_equivalence(nan, module(mha)), FormatError);
}

TEST(OutputBound, CoversTheGapOfEquivalentModules) {
  const StoredAttention a = module(mha);
  const StoredAttention b = moved(a, sample(mha), f16);
  DecideOptions options;
  options.input_radius = 3;
  const Decision decision = decide_equivalence(a, b, options);
  ASSERT_TRUE(decision.output_bound.has_value());
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Matrix<double> tokens = fixed_probe<double>(4, 24, seed).rowwise().normalized() * 3;
    const double gap = (attend(a.config, a.weights, tokens) - attend(b.config, b.weights, tokens))
                           .rowwise()
                           .norm()
                           .maxCoeff();
    EXPECT_LE(gap, *decision.output_bound);
  }
}

// Beyond the arithmetic allowance a pair made in float32 may be undecided; it is never called distinct.
TEST(Soak, Float32ArithmeticIsNeverDistinct) {
  Random random(3);
  for (const double condition : {10.0, 1000.0, 30000.0}) {
    SampleOptions options;
    options.condition = condition;
    for (int i = 0; i < 10; ++i) {
      const StoredAttention a = module(mha, random.bits());
      const auto g = symmetry_of(mha).sample<float>(random, options);
      EXPECT_NE(verdict_of(a, stored(mha, cast<double>(act(g, cast<float>(a.weights))), f32)), "distinct")
          << condition;
    }
  }
}

// Random pairs of known truth over random shapes: no wrong yes, no wrong no.
TEST(Soak, NoWrongVerdict) {
  Random random(2026);
  int undecided = 0;
  constexpr int pairs = 300;
  for (int i = 0; i < pairs; ++i) {
    const Index groups = 1 + random.below(3);
    AttentionConfig c{4 + random.below(12), groups * (1 + random.below(2)), groups, 1 + random.below(3),
                      1 + random.below(3)};
    c.query_bias = random.below(2) == 0;
    c.key_bias = random.below(2) == 0;
    c.value_bias = random.below(2) == 0;
    c.output_bias = random.below(2) == 0;
    const double unit = random.below(2) == 0 ? f32 : f16;
    const StoredAttention a = module(c, random.bits(), unit);
    const auto g = symmetry_of(c).sample<double>(random);
    const std::string same = verdict_of(a, moved(a, g, unit));
    EXPECT_NE(same, "distinct");
    const std::string other = verdict_of(a, moved(module(c, random.bits(), unit), g, unit));
    EXPECT_NE(other, "equivalent");
    EXPECT_NE(other, "identical");
    undecided += (same == "undecided") + (other == "undecided");
  }
  EXPECT_LE(undecided, pairs / 20);
}

}  // namespace
}  // namespace attnsym
