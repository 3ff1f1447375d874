// The checker: accepts what is so, refutes everything else.
#include "verify/checker/certificate.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "verify/decide.hpp"
#include "verify/head_classes.hpp"

namespace attnsym {
namespace {

using testing::f16;
using testing::f32;
using testing::random_weights;
using testing::stored;

AttentionConfig config_of(Index h, Index g) {
  AttentionConfig c{24, h, g, 6, 5};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
  c.scale = 0.4;
  return c;
}

struct Pair {
  StoredAttention a;
  StoredAttention b;
  AttentionElement<double> g;
};

Pair make_pair(const AttentionConfig& c, double unit, SampleOptions options = {}) {
  Random random(5);
  const StoredAttention a = stored(c, random_weights<double>(c, 1), unit);
  auto g = symmetry_of(c).sample<double>(random, options);
  return {a, stored(c, act(g, a.weights), unit), std::move(g)};
}

// A difference in one entry of the constant that its total averages away, yet no rounding can make.
TEST(Equivalence, TheConstantIsJudgedByEntries) {
  const AttentionConfig c = config_of(4, 4);
  AttentionWeights<double> w = random_weights<double>(c, 1);
  for (auto& group : w.groups) group.value_bias.setZero();
  w.output_bias(7) = 1e-3;
  const StoredAttention a = stored(c, w, f16);
  StoredAttention b = a;
  b.weights.output_bias(7) *= 1.01;
  EXPECT_NE(refute_equivalence(a, b, identity_element<double>(c)), std::nullopt);
  b.weights.output_bias(7) = a.weights.output_bias(7) * (1 + 1.5 * f16);
  EXPECT_EQ(refute_equivalence(a, b, identity_element<double>(c)), std::nullopt);
}

HeadClasses one_to_one(Index heads) {
  HeadClasses classes;
  for (Index head = 0; head < heads; ++head) classes.push_back({{head}, {head}});
  return classes;
}

TEST(Equivalence, TheDrawnAndTheFoundElementAreAccepted) {
  for (const auto& c : {config_of(4, 4), config_of(6, 2)}) {
    for (const double unit : {f32, f16}) {
      const Pair p = make_pair(c, unit);
      EXPECT_EQ(refute_equivalence(p.a, p.b, p.g), std::nullopt);
      const Decision decision = decide_equivalence(p.a, p.b);
      ASSERT_TRUE(std::holds_alternative<Equivalent>(decision.verdict));
      EXPECT_EQ(refute_equivalence(p.a, p.b, std::get<Equivalent>(decision.verdict).evidence), std::nullopt);
    }
  }
}

// Keys of two equal columns take up any multiple t of u (1, -1) in their gauge. Of queries moved by it and
// back nothing is left that is smaller than eps t, be it what the modules differ in: then some t that are
// large enough show no difference.
TEST(Equivalence, AGaugeThatHidesADifferenceProvesNothing) {
  const AttentionConfig c{8, 1, 1, 2, 2};
  for (const std::uint64_t seed : {1, 3, 7}) {
    AttentionWeights<double> w = random_weights<double>(c, seed);
    KvGroup<double>& group = w.groups.front();
    group.key = group.key.unaryExpr([](double x) { return std::round(16 * x) / 16; }).eval();
    group.key.col(1) = group.key.col(0);
    const StoredAttention a = stored(c, w, f32);
    group.readers.front().query.col(0) *= 1 + 4e-6;
    const StoredAttention b = stored(c, w, f32);
    for (int exponent = 0; exponent < 48; ++exponent) {
      const double t = std::ldexp(1.0, exponent);
      Matrix<double> gauge(2, 2);
      Matrix<double> back(2, 2);
      gauge << 1 + t, -t, t, 1 - t;
      back << 1 - t, t, -t, 1 + t;
      auto g = identity_element<double>(c);
      g.local.front().second.first.linear = GeneralLinear<double>::from_matrix_and_inverse(gauge, back);
      EXPECT_NE(refute_equivalence(a, b, g), std::nullopt) << seed << ' ' << t;
    }
  }
}

TEST(Equivalence, WrongElementsAreRefuted) {
  const Pair p = make_pair(config_of(4, 4), f32);
  auto wrong_heads = p.g;
  wrong_heads.top = compose(Permutation::from_image({1, 0, 2, 3}), p.g.top);
  EXPECT_NE(refute_equivalence(p.a, p.b, wrong_heads), std::nullopt);
  EXPECT_NE(refute_equivalence(p.a, p.b, inverse(p.g)), std::nullopt);
  EXPECT_NE(refute_equivalence(p.b, p.a, p.g), std::nullopt);
  auto other_gauge = p.g;
  other_gauge.local[0].second.first.linear = GeneralLinear<double>::identity(6);
  EXPECT_NE(refute_equivalence(p.a, p.b, other_gauge), std::nullopt)
      << "the circuits agree, but not by this gauge";
  EXPECT_NE(refute_equivalence(p.a, p.b, identity_element<double>(config_of(6, 2))), std::nullopt);
}

TEST(Equivalence, AnEditIsRefuted) {
  Pair p = make_pair(config_of(4, 4), f32);
  p.b.weights.groups[2].value(3, 3) += 0.01;
  EXPECT_NE(refute_equivalence(p.a, p.b, p.g), std::nullopt);
  Pair q = make_pair(config_of(4, 4), f32);
  q.b.weights.output_bias(3) += 0.01;
  EXPECT_NE(refute_equivalence(q.a, q.b, q.g), std::nullopt);
}

// Edits that the whole circuit averages away: the checker looks at rows and columns.
TEST(Equivalence, EditsInOneRowOrColumnAreRefuted) {
  SampleOptions gentle;
  gentle.condition = 1;
  const AttentionConfig wide{96, 2, 2, 16, 16};
  const auto expect_refuted = [&](auto edit) {
    Pair p = make_pair(wide, f16, gentle);
    ASSERT_EQ(refute_equivalence(p.a, p.b, p.g), std::nullopt);
    edit(p.b.weights.groups[0]);
    EXPECT_NE(refute_equivalence(p.a, p.b, p.g), std::nullopt);
  };
  expect_refuted([](auto& group) { group.readers[0].query(17, 3) += 0.004; });
  expect_refuted([](auto& group) { group.key(17, 3) += 0.004; });
  expect_refuted([](auto& group) { group.value(17, 3) += 0.004; });
  expect_refuted([](auto& group) { group.readers[0].output(3, 17) += 0.004; });
}

// A module exact but for one value bias, whose rounding explains the difference of the constants.
TEST(Equivalence, TheConstantCountsTheValueBias) {
  const AttentionConfig c = config_of(4, 4);
  StoredAttention a = stored(c, random_weights<double>(c, 1), f16);
  for_each_slot(a.radius, [](auto& slot) { slot.setZero(); });
  a.radius.groups[1].value_bias(2) = f16 * std::abs(a.weights.groups[1].value_bias(2));
  StoredAttention b = a;
  b.weights.groups[1].value_bias(2) *= 1 + f16;
  EXPECT_EQ(refute_equivalence(a, b, one_to_one(4)), std::nullopt);
  b.weights.groups[1].value_bias(2) *= 1 + 100 * f16;
  EXPECT_NE(refute_equivalence(a, b, one_to_one(4)), std::nullopt);
}

TEST(Classes, RightOnesAreAcceptedAndWrongOnesRefuted) {
  SampleOptions stay;
  stay.heads = false;
  Pair p = make_pair(config_of(4, 4), f32, stay);
  EXPECT_EQ(refute_equivalence(p.a, p.b, one_to_one(4)), std::nullopt);
  EXPECT_NE(refute_equivalence(p.a, p.b, one_to_one(3)), std::nullopt) << "a head is missing";
  EXPECT_NE(refute_equivalence(p.a, p.b, one_to_one(5)), std::nullopt) << "a head too many";
  HeadClasses twice = one_to_one(4);
  twice.push_back(twice.front());
  EXPECT_NE(refute_equivalence(p.a, p.b, twice), std::nullopt) << "a head in two classes";
  for (const HeadClasses& wrong : {one_to_one(3), one_to_one(5), twice})  // exact mode asks this
    EXPECT_NE(refute_partition(p.a, p.b, wrong), std::nullopt);
  HeadClasses merged = one_to_one(3);
  merged[2] = {{2, 3}, {2, 3}};
  EXPECT_NE(refute_equivalence(p.a, p.b, merged), std::nullopt) << "two QK circuits in one class";
  HeadClasses crossed = one_to_one(4);
  std::swap(crossed[0].b, crossed[1].b);
  EXPECT_NE(refute_equivalence(p.a, p.b, crossed), std::nullopt);
  p.b.weights.groups[2].value(3, 3) += 0.01;
  EXPECT_NE(refute_equivalence(p.a, p.b, one_to_one(4)), std::nullopt) << "other sums";
}

TEST(Classes, MasksMustBeTheSame) {
  const Pair p = make_pair(config_of(4, 4), f32);
  StoredAttention causal = p.a;
  causal.config.causal = true;
  EXPECT_NE(refute_equivalence(p.a, causal, one_to_one(4)), std::nullopt);
}

TEST(Identity, IsExact) {
  SampleOptions monomial;
  monomial.monomial = true;
  monomial.bias = false;
  Pair p = make_pair(config_of(6, 2), f32, monomial);
  EXPECT_EQ(refute_identity(p.a, p.b, p.g), std::nullopt);
  double& weight = p.b.weights.groups[0].key(0, 0);
  weight = std::nextafter(weight, 2.0);
  EXPECT_NE(refute_identity(p.a, p.b, p.g), std::nullopt);
}

// Halves of subnormal numbers round: doubled again they are not what they were.
TEST(Identity, HoldsBothWays) {
  StoredAttention a = make_pair(config_of(4, 4), f32).a;
  a.weights.groups[0].readers[0].query(0, 0) = 3 * std::numeric_limits<double>::denorm_min();
  AttentionElement<double> halves = symmetry_of(a.config).identity<double>();
  halves.local[0].second.first.linear =
      GeneralLinear<double>::from_matrix(2 * Matrix<double>::Identity(6, 6));
  StoredAttention b = a;
  b.weights = act(halves, a.weights);
  ASSERT_NE(b.weights, a.weights);
  EXPECT_NE(refute_identity(a, b, halves), std::nullopt);
  a.weights.groups[0].readers[0].query(0, 0) = 0;
  b.weights = act(halves, a.weights);
  EXPECT_EQ(refute_identity(a, b, halves), std::nullopt);
}

TEST(WitnessCheck, AcceptsSeparatingInputsOnly) {
  const Pair p = make_pair(config_of(4, 4), f32);
  StoredAttention edited = p.b;
  edited.weights.groups[2].value(3, 3) += 0.05;
  const Decision decision = decide_equivalence(p.a, edited);
  ASSERT_TRUE(std::holds_alternative<Distinct>(decision.verdict));
  Matrix<double> input = std::get<Distinct>(decision.verdict).witness.input;
  EXPECT_EQ(refute_witness(p.a, edited, input), std::nullopt);
  EXPECT_NE(refute_witness(p.a, p.b, input), std::nullopt) << "these two are equivalent";
  EXPECT_NE(refute_witness(p.a, edited, Matrix<double>(input.topRows(2))), std::nullopt) << "too short";
  input(0, 0) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NE(refute_witness(p.a, edited, input), std::nullopt);
}

}  // namespace
}  // namespace attnsym
