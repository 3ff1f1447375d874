// The group of every kind of attention [N5]: dimensions, what it has, what it has not.
#include "tests/support/attention_kinds.hpp"

#include <gtest/gtest.h>

#include <Eigen/LU>

#include "symmetry/symmetry_group.hpp"
#include "verify/testing/closeness.hpp"

namespace attnsym {
namespace {

using testing::attention_kinds;
using testing::AttentionKind;
using testing::tiny_config;
using testing::with_rotary;
using testing::with_slopes;

TEST(AttentionKinds, DimensionsAreThoseMeasured) {
  for (const AttentionKind& kind : attention_kinds())
    EXPECT_EQ(symmetry_of(kind.config).dimension(), kind.dimension) << kind.name;
}

// Public shapes, per layer: the figures of README.
TEST(AttentionKinds, DimensionsOfKnownModels) {
  const auto rotary = [](AttentionConfig c, Index pairs) {
    for (Index p = 0; p < pairs; ++p)
      c.rotary.frequencies.push_back(std::pow(10000.0, -static_cast<double>(p) / static_cast<double>(pairs)));
    return c;
  };
  const AttentionConfig minilm = testing::with_biases(AttentionConfig{384, 12, 12, 32, 32});
  const AttentionConfig gpt2 = testing::with_biases(AttentionConfig{768, 12, 12, 64, 64});
  AttentionConfig qwen2 = rotary(AttentionConfig{3584, 28, 4, 128, 128}, 64);
  qwen2.query_bias = qwen2.key_bias = qwen2.value_bias = true;
  const AttentionConfig pythia = testing::with_biases(rotary(AttentionConfig{4096, 32, 32, 128, 128}, 16));
  EXPECT_EQ(symmetry_of(minilm).dimension(), 25344);
  EXPECT_EQ(symmetry_of(gpt2).dimension(), 99840);
  EXPECT_EQ(symmetry_of(rotary(AttentionConfig{4096, 32, 32, 128, 128}, 64)).dimension(),
            528384);  // Llama-2-7B
  EXPECT_EQ(symmetry_of(rotary(AttentionConfig{4096, 32, 8, 128, 128}, 64)).dimension(),
            132096);  // Mistral-7B
  AttentionConfig olmo2 = rotary(AttentionConfig{4096, 32, 32, 128, 128}, 64);
  olmo2.qk_norm = QkNorm{1e-6, QkGains::Own, true};
  EXPECT_EQ(symmetry_of(olmo2).dimension(), 526336);  // OLMo-2-7B
  EXPECT_EQ(olmo2.parameter_count(), 67117056);
  EXPECT_EQ(symmetry_of(qwen2).dimension(), 66048);                                        // Qwen2-7B
  EXPECT_EQ(symmetry_of(pythia).dimension(), 32 * (32 + 96 * 96 + 128 * 128 + 96 + 128));  // Pythia-6.9B
}

TEST(AttentionKinds, SamplesAreElementsOfTheAskedCondition) {
  Random random(3);
  for (const AttentionKind& kind : attention_kinds()) {
    const SymmetryGroup group = symmetry_of(kind.config);
    const bool isometries = kind.config.qk_norm && kind.config.qk_norm->gains == QkGains::Temperature;
    for (const double wanted : {1.0, 30.0}) {
      SampleOptions options;
      options.condition = wanted;
      const auto element = group.sample<double>(random, options);
      EXPECT_TRUE(group.contains(element)) << kind.name;
      for (const auto& move : element.local) {
        const double condition_found = condition(qk_gauge(move).linear);
        EXPECT_NEAR(condition_found, isometries ? 1 : wanted, 1e-9 * wanted) << kind.name;
      }
      EXPECT_TRUE(group.contains(inverse(element))) << kind.name;
      EXPECT_TRUE(group.contains(compose(element, group.sample<double>(random, options)))) << kind.name;
    }
  }
}

TEST(AttentionKinds, MonomialSamplesAreExact) {
  SampleOptions options;
  options.monomial = true;
  options.condition = 64;
  options.bias = false;
  for (const AttentionKind& kind : attention_kinds()) {
    Random random(7);
    const SymmetryGroup group = symmetry_of(kind.config);
    const auto element = group.sample<Rational>(random, options);
    EXPECT_TRUE(group.contains(element)) << kind.name;
    EXPECT_EQ(compose(element, inverse(element)), group.identity<Rational>()) << kind.name;
    EXPECT_FALSE(element == group.identity<Rational>()) << kind.name;
  }
}

// An element with this matrix for the QK gauge of the first group.
AttentionElement<double> with_qk(const AttentionConfig& config, const Matrix<double>& matrix) {
  auto element = identity_element<double>(config);
  element.local[0].second.first.linear = GeneralLinear<double>::from_matrix(matrix);
  return element;
}

// Columns of half-split pairs: (0, 2) and (1, 3).
TEST(RotaryGauges, AreComplexNumbersPerPairAndNothingElse) {
  const AttentionConfig c = with_rotary(tiny_config(2, 2), {1.0, 0.3});
  const SymmetryGroup group = symmetry_of(c);
  const Matrix<double> one = Matrix<double>::Identity(4, 4);
  Matrix<double> turn = one;
  turn(0, 0) = turn(2, 2) = 0.6;
  turn(2, 0) = 0.8;
  turn(0, 2) = -0.8;
  EXPECT_TRUE(group.contains(with_qk(c, 3 * turn)));
  Matrix<double> scale = one;
  scale(0, 0) = 2;
  EXPECT_FALSE(group.contains(with_qk(c, scale))) << "a real scale of one coordinate of a pair";
  Matrix<double> reflection = one;
  reflection(2, 2) = -1;
  EXPECT_FALSE(group.contains(with_qk(c, reflection)));
  const Matrix<double> swap = one(std::vector<Index>{1, 0, 3, 2}, Eigen::all);
  EXPECT_FALSE(group.contains(with_qk(c, swap))) << "two pairs that trade places";
  Matrix<double> shear = one;
  shear(0, 1) = 0.1;
  EXPECT_FALSE(group.contains(with_qk(c, shear)));
  EXPECT_TRUE(symmetry_of(with_rotary(c, {0.7, 0.7})).contains(with_qk(c, swap)))
      << "pairs of one frequency may";
}

TEST(RotaryGauges, KnowWhichFrequenciesAreOne) {
  const auto blocks = [](std::vector<double> frequencies) {
    return gauge_blocks(with_rotary(tiny_config(2, 2), std::move(frequencies))).size();
  };
  const double turn = 2 * std::numbers::pi;
  EXPECT_EQ(blocks({1, 0.3}), 2);
  EXPECT_EQ(blocks({1, -1}), 1);
  EXPECT_EQ(blocks({0, turn}), 1) << "a whole turn is none";
  EXPECT_EQ(blocks({std::numbers::pi, -std::numbers::pi}), 1);
}

// Blocks are those on which the pairs turn alike in short sequences and in long ones.
TEST(RotaryGauges, RespectTheFrequenciesBeyondALength) {
  struct Case {
    std::vector<double> first, beyond;
    std::vector<Index> dimensions;  // of blocks
  };
  const double pi = std::numbers::pi;
  const std::vector<Case> cases{
      {{0.7, 0.7}, {0.7, 0.3}, {2, 2}}, {{0.7, 0.3}, {0.7, 0.7}, {2, 2}},  {{0.7, 0.7}, {0.2, 0.2}, {8}},
      {{0.7, -0.7}, {0.2, -0.2}, {8}},  {{0.7, -0.7}, {0.2, 0.2}, {2, 2}}, {{0, 0}, {0.2, -0.2}, {8}},
      {{0, 0}, {0.2, 0.3}, {2, 2}},     {{0.2, 0.3}, {0, 0}, {2, 2}},      {{0, 0}, {0, pi}, {4, 4}},
      {{pi, pi}, {0.5, -0.5}, {8}},     {{0.7, 0.7}, {0, pi}, {2, 2}},     {{0, 0}, {0, 0}, {16}}};
  for (const Case& each : cases) {
    const AttentionConfig c =
        testing::with_beyond(with_rotary(tiny_config(2, 2), each.first), 5, each.beyond);
    std::vector<Index> found;
    for (const GaugeBlock& block : gauge_blocks(c)) found.push_back(block.dimension());
    EXPECT_EQ(found, each.dimensions)
        << each.first[0] << " " << each.first[1] << ", " << each.beyond[0] << " " << each.beyond[1];
    // What commutes with both turns, and with nothing but both: samples are in both groups.
    Random random(4);
    const auto element = symmetry_of(c).sample<double>(random);
    EXPECT_TRUE(symmetry_of(c).contains(element));
    EXPECT_TRUE(symmetry_of(with_rotary(tiny_config(2, 2), each.first)).contains(element));
    EXPECT_TRUE(symmetry_of(with_rotary(tiny_config(2, 2), each.beyond)).contains(element));
  }
}

TEST(RotaryGauges, AKeyBiasThatTurnsInLongSequencesIsNotFree) {
  AttentionConfig c = testing::with_biases(with_rotary(tiny_config(2, 2), {0, 0}));
  EXPECT_EQ(free_key_biases(c), (std::vector<bool>{true, true, true, true}));
  EXPECT_FALSE(key_bias_counts(c));
  c = testing::with_beyond(c, 5, {0.3, 0});
  EXPECT_EQ(free_key_biases(c), (std::vector<bool>{false, true, false, true}));
  EXPECT_TRUE(key_bias_counts(c));
}

TEST(Alibi, HeadsKeepTheirSlopes) {
  AttentionConfig c = with_slopes(tiny_config(4, 2));
  auto element = identity_element<double>(c);
  element.top = Permutation::from_image({1, 0});
  EXPECT_FALSE(symmetry_of(c).contains(element));
  c.slopes = {0.5, 0.5, 0.5, 0.5};
  EXPECT_TRUE(symmetry_of(c).contains(element));
  c.slopes = {0.5, 0.25, 0.5, 0.25};
  EXPECT_TRUE(symmetry_of(c).contains(element));
  element.local[0].first = Permutation::from_image({1, 0});
  EXPECT_FALSE(symmetry_of(c).contains(element));
  Random random(1);
  int moved = 0;
  for (int draw = 0; draw < 20; ++draw) {
    const auto drawn = symmetry_of(c).sample<double>(random);
    EXPECT_TRUE(symmetry_of(c).contains(drawn));
    moved += drawn.top == Permutation::identity(2) ? 0 : 1;
  }
  EXPECT_GT(moved, 0);
}

TEST(Describe, NamesTheGaugesThatPositionsLeave) {
  EXPECT_EQ(symmetry_of(with_rotary(tiny_config(4, 2), {1, 0.3})).describe(),
            "S_2 wr S_2; per group (C^x)^2 on Q-K and GL(3) on V-O");
  EXPECT_EQ(symmetry_of(with_rotary(testing::with_biases(tiny_config(2, 2)), {0.7})).describe(),
            "S_2; per head C^x x GL(2) on Q-K and GL(3) on V-O; 2 of 4 key biases are free; the value bias "
            "moves into the output bias");
}

TEST(Config, RefusesPositionsThatDoNotFit) {
  EXPECT_THROW(symmetry_of(with_rotary(tiny_config(2, 2), {1, 2, 3})), ShapeError);
  EXPECT_THROW(symmetry_of(with_rotary(tiny_config(2, 2), {std::nan("")})), ShapeError);
  const AttentionConfig rotary = with_rotary(tiny_config(2, 2), {1, 0.3});
  EXPECT_THROW(symmetry_of(testing::with_beyond(rotary, 5, {1})), ShapeError);
  EXPECT_THROW(symmetry_of(testing::with_beyond(rotary, 0, {1, 0.1})), ShapeError);
  EXPECT_THROW(symmetry_of(testing::with_beyond(rotary, 5, {1, std::nan("")})), ShapeError);
  EXPECT_THROW(symmetry_of(testing::with_beyond(testing::with_gain(rotary), 5, {1, 0})), ShapeError);
  AttentionConfig c = tiny_config(2, 2);
  c.slopes = {0.5};
  EXPECT_THROW(symmetry_of(c), ShapeError);
  c = tiny_config(2, 2);
  c.softcap = -1;
  EXPECT_THROW(symmetry_of(c), ShapeError);
}

// Beside temperatures nothing takes up sizes, whatever the positions allow.
TEST(AttentionKinds, TemperaturesAllowIsometriesOnly) {
  const AttentionConfig config = testing::with_temperatures(tiny_config(2, 2), 0.1);
  const SymmetryGroup group = symmetry_of(config);
  const auto with_gauge = [&](double first, double second) {
    AttentionElement<double> element = group.identity<double>();
    Matrix<double> gauge = Matrix<double>::Identity(4, 4);
    gauge.topLeftCorner(2, 2) << first, -second, second, first;
    element.local[0].second.first.linear =
        GeneralLinear<double>::from_matrix_and_inverse(gauge, Matrix<double>(gauge.inverse()));
    return element;
  };
  EXPECT_TRUE(group.contains(with_gauge(0.6, 0.8)));
  EXPECT_FALSE(group.contains(with_gauge(2, 0)));
  EXPECT_FALSE(group.contains(with_gauge(1, 1)));
}

}  // namespace
}  // namespace attnsym
