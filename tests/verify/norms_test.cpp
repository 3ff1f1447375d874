// Norms of queries and keys [N5]: what they leave of the group, and what they see.
#include <gtest/gtest.h>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/attention_kinds.hpp"
#include "tests/support/random_module.hpp"
#include "tests/support/wrong_move.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/decide.hpp"
#include "verify/exact.hpp"
#include "verify/head_classes.hpp"

namespace attnsym {
namespace {

using testing::expect_distinct;
using testing::f32;
using testing::gauge;
using testing::random_weights;
using testing::stored;
using testing::tiny_config;
using testing::with_biases;
using testing::with_norms;
using testing::with_norms_over_all_heads;
using testing::with_rotary;
using testing::with_temperatures;
using testing::WrongMove;

const std::vector<double> two{1.0, 0.3};

std::string verdict_of(const StoredAttention& a, const StoredAttention& b) {
  return name_of(decide_equivalence(a, b).verdict);
}

Matrix<double> turn_of_first_pair(double cosine, double sine) {
  Matrix<double> turn = Matrix<double>::Identity(4, 4);
  turn(0, 0) = turn(2, 2) = cosine;
  turn(0, 2) = -sine;
  turn(2, 0) = sine;
  return turn;
}

std::vector<WrongMove> wrong_moves_of_norms() {
  const AttentionConfig plain = with_norms(tiny_config(2, 2), 1e-3);
  const AttentionConfig rotary = with_norms(with_rotary(tiny_config(4, 2), two), 1e-3);
  return {
      {"a generic gauge", plain,
       [](StoredAttention& m) {
         gauge(m, Matrix<double>::Identity(4, 4) + fixed_probe<double>(4, 4, 1) / 2);
       }},
      {"a rotation beside unequal gains", plain,
       [](StoredAttention& m) {
         Matrix<double> turn = Matrix<double>::Identity(4, 4);
         turn.topLeftCorner(2, 2) << 0.6, -0.8, 0.8, 0.6;
         turn.bottomRightCorner(2, 2) << 0.6, -0.8, 0.8, 0.6;
         gauge(m, turn);
       }},
      {"coordinates swapped without their gains", plain,
       [](StoredAttention& m) {
         gauge(m, Matrix<double>::Identity(4, 4)(std::vector<Index>{1, 0, 2, 3}, Eigen::all));
       }},
      {"a complex number in a pair", rotary,
       [](StoredAttention& m) { gauge(m, turn_of_first_pair(0.6, 0.8)); }},
      {"a quarter turn without a swap of gains", rotary,
       [](StoredAttention& m) { gauge(m, turn_of_first_pair(0, 1)); }},
      {"gains stretched by coordinate instead of by pair", rotary,
       [](StoredAttention& m) {
         m.weights.query_gain(0) *= 2;
         m.weights.key_gain(0) /= 2;
       }},
      {"another gain", plain, [](StoredAttention& m) { m.weights.query_gain(2) *= 1.5; }},
      {"queries scaled beside an epsilon", plain,
       [](StoredAttention& m) { m.weights.groups[0].readers[0].query *= 2; }},
      {"keys scaled beside an epsilon", rotary, [](StoredAttention& m) { m.weights.groups[1].key *= 2; }},
      {"queries scaled against their gains", plain,
       [](StoredAttention& m) {
         for (auto& group : m.weights.groups) group.readers[0].query *= 2;
         m.weights.query_gain /= 2;
       }},
      {"another epsilon", rotary, [](StoredAttention& m) { m.config.qk_norm->epsilon = 4e-3; }},
      {"no epsilon", plain, [](StoredAttention& m) { m.config.qk_norm->epsilon = 0; }},
      {"a key bias shift", with_norms(with_biases(tiny_config(2, 2)), 1e-3),
       [](StoredAttention& m) { m.weights.groups[0].key_bias(1) += 1; }},
      {"no norms", rotary,
       [](StoredAttention& m) {
         m.config.qk_norm.reset();
         for (auto* weights : {&m.weights, &m.radius})
           weights->query_gain = weights->key_gain = RowVector<double>();
       }},
  };
}

TEST(Decide, FindsWrongMovesOfNormsDistinct) {
  for (const WrongMove& wrong : wrong_moves_of_norms()) {
    auto weights = random_weights<double>(wrong.config, 6);
    weights.query_gain << 0.25, 2, 2, 0.25;  // far apart even in BF16
    expect_distinct(wrong, weights);
  }
}

void stretch(RowVector<double>& gain, double by) { gain(0) *= by; }

// Norms over all heads, where every head has gains of its own.
std::vector<WrongMove> wrong_moves_over_all_heads() {
  const AttentionConfig plain = with_norms_over_all_heads(tiny_config(2, 2), 1e-3);
  const AttentionConfig rotary = with_norms_over_all_heads(with_rotary(tiny_config(4, 2), two), 1e-3);
  return {
      {"a rotation", plain,
       [](StoredAttention& m) {
         Matrix<double> turn = Matrix<double>::Identity(4, 4);
         turn.topLeftCorner(2, 2) << 0.6, -0.8, 0.8, 0.6;
         gauge(m, turn);
       }},
      {"gains left behind by their head", plain,
       [](StoredAttention& m) {
         std::swap(m.weights.groups[0], m.weights.groups[1]);
         std::swap(m.weights.groups[0].gain, m.weights.groups[1].gain);
       }},
      {"gains stretched by coordinate instead of by pair", rotary,
       [](StoredAttention& m) {
         auto& group = m.weights.groups[0];
         stretch(group.gain, 2);
         for (auto& reader : group.readers) stretch(reader.gain, 0.5);
       }},
      {"gains of one reader only", with_norms_over_all_heads(tiny_config(4, 2), 1e-3),
       [](StoredAttention& m) {
         stretch(m.weights.groups[0].gain, 2);
         stretch(m.weights.groups[0].readers[0].gain, 0.5);
       }},
      {"a head that puts out nothing, scaled", plain,
       [](StoredAttention& m) {
         m.weights.groups[0].readers[0].output.setZero();
         m.weights.groups[0].readers[0].query *= 3;
         m.weights.groups[0].readers[0].gain /= 3;
       }},
      {"norms head by head", rotary, [](StoredAttention& m) { m.config.qk_norm->over_all_heads = false; }},
      {"queries of one head scaled without an epsilon", with_norms_over_all_heads(tiny_config(2, 2)),
       [](StoredAttention& m) {
         m.weights.groups[0].readers[0].query *= 2;
         m.weights.groups[0].readers[0].gain /= 2;
       }},
  };
}

TEST(Decide, FindsWrongMovesOfNormsOverAllHeadsDistinct) {
  for (const WrongMove& wrong : wrong_moves_over_all_heads())
    expect_distinct(wrong, random_weights<double>(wrong.config, 6));
}

// Norms and temperatures leave isometries.
std::vector<WrongMove> wrong_moves_beside_temperatures() {
  const AttentionConfig plain = with_temperatures(tiny_config(2, 2), 1e-3);
  const AttentionConfig rotary = with_temperatures(with_rotary(tiny_config(4, 2), two), 1e-3);
  return {
      {"a scale of one coordinate", plain,
       [](StoredAttention& m) {
         gauge(m, RowVector<double>{{2, 1, 1, 1}}.asDiagonal());
       }},
      {"a scale of a pair", rotary,
       [](StoredAttention& m) {
         gauge(m, RowVector<double>{{2, 1, 2, 1}}.asDiagonal());
       }},
      {"an isometry across pairs", rotary,
       [](StoredAttention& m) {
         gauge(m, Matrix<double>::Identity(4, 4)(std::vector<Index>{1, 0, 3, 2}, Eigen::all));
       }},
      {"a temperature left behind by its head", plain,
       [](StoredAttention& m) {
         std::swap(m.weights.groups[0], m.weights.groups[1]);
         std::swap(m.weights.groups[0].readers[0].gain, m.weights.groups[1].readers[0].gain);
       }},
      {"another temperature", rotary, [](StoredAttention& m) { m.weights.groups[0].readers[1].gain *= 2; }},
  };
}

TEST(Decide, FindsWrongMovesBesideTemperaturesDistinct) {
  for (const WrongMove& wrong : wrong_moves_beside_temperatures()) {
    auto weights = random_weights<double>(wrong.config, 6);
    weights.groups[0].readers[0].gain *= 4;
    expect_distinct(wrong, weights);
  }
}

// Head by head a head that puts out nothing may go; a norm over all heads sees it.
TEST(Decide, NormsOverAllHeadsSeeHeadsThatPutOutNothing) {
  for (const bool over_all_heads : {false, true}) {
    AttentionConfig c = with_norms_over_all_heads(tiny_config(3, 3), 1e-3);
    c.qk_norm->over_all_heads = over_all_heads;
    AttentionWeights<double> w = random_weights<double>(c, 6);
    w.groups[2].readers[0].output.setZero();
    AttentionConfig without = c;
    without.heads = without.groups = 2;
    AttentionWeights<double> fewer = w;
    fewer.groups.pop_back();
    const StoredAttention a = stored(c, w, f32);
    const StoredAttention b = stored(without, fewer, f32);
    EXPECT_EQ(verdict_of(a, b), over_all_heads ? "distinct" : "equivalent");
    const HeadClasses classes{{{0}, {0}}, {{1}, {1}}, {{2}, {}}};
    EXPECT_EQ(refute_equivalence(a, b, classes).has_value(), over_all_heads);
  }
}

// The products of queries and keys are the same, the lengths that divide them are not.
// The twin of the above, by counts alone: as many of every kind, or a norm over all heads sees it.
TEST(Partition, NormsOverAllHeadsSeeHowManyHeadsThereAre) {
  const AttentionConfig c = with_norms_over_all_heads(tiny_config(2, 2), 1e-3);
  AttentionConfig one_by_one = c;
  one_by_one.qk_norm->over_all_heads = false;
  const HeadClasses uneven{{{0}, {0, 1}}, {{1}, {}}};
  const HeadClasses even{{{0}, {1}}, {{1}, {0}}};
  const auto module = [](const AttentionConfig& config) {
    return stored(config, random_weights<double>(config, 6), f32);
  };
  EXPECT_TRUE(refute_partition(module(c), module(c), uneven));
  EXPECT_FALSE(refute_partition(module(c), module(c), even));
  EXPECT_FALSE(refute_partition(module(one_by_one), module(one_by_one), uneven));
}

TEST(Decide, FindsModulesWithAGainOfZeroIdenticalToThemselves) {
  const AttentionConfig c = with_norms(tiny_config(2, 2), 1e-3);
  AttentionWeights<double> w = random_weights<double>(c, 6);
  w.key_gain(1) = 0;
  EXPECT_EQ(verdict_of(stored(c, w, f32), stored(c, w, f32)), "identical");
}

TEST(Certificate, JudgesNormsByThemselves) {
  const AttentionConfig c = with_norms(with_rotary(tiny_config(4, 2), two), 1e-3);
  const StoredAttention a = stored(c, random_weights<double>(c, 6), f32);
  EXPECT_FALSE(refute_equivalence(a, a, identity_element<double>(c)));
  for (const bool of_queries : {true, false}) {
    StoredAttention b = a;
    for (auto& group : b.weights.groups) {
      if (!of_queries) group.key *= 2;
      for (auto& reader : group.readers) reader.query *= of_queries ? 2 : 1;
    }
    (of_queries ? b.weights.query_gain : b.weights.key_gain) /= 2;
    EXPECT_TRUE(refute_equivalence(a, b, identity_element<double>(c)));
    HeadClasses classes;
    for (Index head = 0; head < c.heads; ++head) classes.push_back({{head}, {head}});
    EXPECT_FALSE(refute_equivalence(a, a, classes));
    EXPECT_TRUE(refute_equivalence(a, b, classes));
    EXPECT_EQ(verdict_of(a, b), "distinct");
  }
}

AttentionWeights<double> written_out(const AttentionWeights<double>& w) {
  AttentionWeights<double> result = w;
  result.groups.clear();
  for (const auto& group : w.groups) {
    for (const auto& reader : group.readers) {
      KvGroup<double> one = group;
      one.readers = {reader};
      result.groups.push_back(one);
    }
  }
  return result;
}

TEST(DecideExactly, GroupsWrittenOutUnderNormsAreEquivalent) {
  const AttentionConfig rotary = with_rotary(with_biases(tiny_config(4, 2)), two);
  for (const AttentionConfig& c :
       {with_norms(rotary, 1e-3), with_norms(rotary), with_norms_over_all_heads(rotary, 1e-3),
        with_norms_over_all_heads(rotary), with_temperatures(with_biases(tiny_config(4, 2)), 1e-3)}) {
    const StoredAttention a = stored(c, random_weights<double>(c, 6), f32);
    AttentionConfig heads = c;
    heads.groups = c.heads;
    StoredAttention b{heads, written_out(a.weights), written_out(a.radius)};
    const ExactDecision decision = decide_exactly(a, b, 5);
    EXPECT_STREQ(name_of(decision.verdict), "equivalent");
    EXPECT_EQ(refute_exact_equality(a, b, decision.classes, 7).value_or("holds"), "holds");
    EXPECT_LT(decision.error_probability, 1e-25);
    for (double* number : {&b.weights.groups[1].key(0, 1), &b.weights.groups[2].key_bias(3),
                           &b.weights.groups[0].readers[0].query(2, 2)}) {
      const double kept = *number;
      *number = std::nextafter(kept, 10);
      EXPECT_STREQ(name_of(decide_exactly(a, b, 5).verdict), "distinct");
      EXPECT_TRUE(refute_exact_equality(a, b, decision.classes, 7));
      *number = kept;
    }
  }
}

TEST(DecideExactly, SizesCountInUnitsOfTheRootOfTheEpsilon) {
  const AttentionConfig c = with_norms(with_rotary(tiny_config(4, 2), two), 0.01);
  const StoredAttention a = stored(c, random_weights<double>(c, 6), f32);
  StoredAttention b = a;
  for (auto& group : b.weights.groups) {
    group.key *= 2;
    for (auto& reader : group.readers) reader.query *= 2;
  }
  EXPECT_STREQ(name_of(decide_exactly(a, b, 5).verdict), "distinct");
  b.config.qk_norm->epsilon *= 4;
  EXPECT_STREQ(name_of(decide_exactly(a, b, 5).verdict), "equivalent");
}

TEST(DecideExactly, FindsWrongMovesOfNormsDistinct) {
  for (const WrongMove& wrong : wrong_moves_of_norms()) {
    const StoredAttention a = stored(wrong.config, random_weights<double>(wrong.config, 6), f32);
    StoredAttention b = a;
    wrong.edit(b);
    EXPECT_STREQ(name_of(decide_exactly(a, b, 5).verdict), "distinct") << wrong.name;
  }
}

// Norms without an epsilon do not see sizes; with one, sizes count in units of its root.
TEST(Decide, KnowsWhichSizesNormsSee) {
  const auto scaled = [](const AttentionConfig& c, double epsilon_b) {
    const StoredAttention a = stored(c, random_weights<double>(c, 6), f32);
    StoredAttention b = a;
    b.config.qk_norm->epsilon = epsilon_b;
    for (auto& group : b.weights.groups) {
      group.key *= 3;
      for (auto& reader : group.readers) reader.query *= 3;
    }
    return verdict_of(a, stored(b.config, b.weights, f32));
  };
  const AttentionConfig rotary = with_rotary(tiny_config(4, 2), two);
  EXPECT_EQ(scaled(with_norms(rotary, 0), 0), "equivalent");
  EXPECT_EQ(scaled(with_norms(rotary, 0.01), 0.09), "equivalent");
  EXPECT_EQ(scaled(with_norms(rotary, 0.01), 0.01), "distinct");
}

// Equal products of gains leave all rotations free [N5]: no group element of the config, but equal scores.
TEST(Decide, FindsRotationsBesideEqualGainsEquivalent) {
  const AttentionConfig c = with_norms(tiny_config(2, 2), 1e-3);
  StoredAttention a = stored(c, random_weights<double>(c, 6), f32);
  a.weights.query_gain.setConstant(0.5);
  a.weights.key_gain.setConstant(2);
  StoredAttention b = a;
  Matrix<double> turn = Matrix<double>::Identity(4, 4);
  turn.topLeftCorner(2, 2) << 0.6, -0.8, 0.8, 0.6;
  gauge(b, turn);
  const StoredAttention rounded = stored(c, b.weights, f32);
  const Decision decision = decide_equivalence(a, rounded);
  ASSERT_STREQ(name_of(decision.verdict), "equivalent");
  EXPECT_EQ(refute_equivalence(a, rounded, std::get<Equivalent>(decision.verdict).evidence).value_or("holds"),
            "holds");
}

// In a rotary pair equal products g1 k1 = g2 k2 are not enough: turned queries meet the other key gain.
TEST(Decide, RotationsOfAPairNeedEqualGains) {
  const AttentionConfig c = with_norms(with_rotary(tiny_config(2, 2), two), 1e-3);
  StoredAttention a = stored(c, random_weights<double>(c, 6), f32);
  const auto turned = [&](double query, double key) {
    a.weights.query_gain << query, 1, 1, 1;
    a.weights.key_gain << 1, 1, key, 1;
    StoredAttention b = a;
    gauge(b, turn_of_first_pair(0.6, 0.8));
    return stored(c, b.weights, f32);
  };
  StoredAttention b = turned(2, 2);
  EXPECT_EQ(verdict_of(a, b), "distinct");
  EXPECT_STREQ(name_of(decide_exactly(a, b, 5).verdict), "distinct");
  EXPECT_TRUE(refute_equivalence(a, b, HeadClasses{{{0}, {0}}, {{1}, {1}}}));
  b = turned(1, 1);
  EXPECT_EQ(verdict_of(a, b), "equivalent");
}

}  // namespace
}  // namespace attnsym
