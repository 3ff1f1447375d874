// Enclosures hold what they claim: outputs at 50 digits, for the stored weights and for weights moved within
// their radii; and they are not much wider than that.
#include "verify/enclosure.hpp"

#include <gtest/gtest.h>

#include "symmetry/random.hpp"
#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f32;
using testing::random_weights;
using testing::stored;

AttentionConfig config_of(bool causal, bool biases = true) {
  AttentionConfig c{10, 4, 2, 3, 2};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = biases;
  c.causal = causal;
  c.scale = 0.6;
  return c;
}

Matrix<Float50> exact_output(const AttentionConfig& c, const AttentionWeights<double>& w,
                             const Matrix<double>& tokens) {
  return attend(c, cast<Float50>(w), Matrix<Float50>(tokens.cast<Float50>()));
}

// The largest part of the radius that the difference to the centre takes: at most 1 if the output is inside.
double used_radius(const Enclosure& enclosure, const Matrix<Float50>& output) {
  Float50 largest = 0;
  for (Index i = 0; i < output.size(); ++i) {
    const Float50 off = abs(output.data()[i] - Float50(enclosure.center.data()[i]));
    largest = std::max(largest, Float50(off / enclosure.radius.data()[i]));
  }
  return static_cast<double>(largest);
}

std::vector<Matrix<double>> inputs(Index width) {
  std::vector<Matrix<double>> result{Matrix<double>::Zero(3, width), fixed_probe<double>(1, width, 1)};
  for (const double size : {0.3, 3.0, 30.0}) result.emplace_back(size * fixed_probe<double>(4, width, 2));
  result.emplace_back(5 * fixed_probe<double>(1, width, 3).replicate(3, 1));  // equal tokens
  return result;
}

// Every weight moved by plus or minus its radius, or to anywhere between.
AttentionWeights<double> moved(const StoredAttention& module, bool to_the_edge, Random& random) {
  return testing::moved_within_radii(module, [&] {
    const double step = to_the_edge ? (random.below(2) == 0 ? 1 : -1) : random.uniform();
    return 0.999999 * step;
  });
}

TEST(Enclosure, HoldsTheStoredNumbersAtFiftyDigits) {
  for (const bool causal : {false, true}) {
    for (const bool biases : {false, true}) {
      const AttentionConfig c = config_of(causal, biases);
      const StoredAttention module = stored(c, random_weights<double>(c, 1), f32);
      for (const Matrix<double>& tokens : inputs(c.model_width)) {
        const Enclosure enclosure = enclose_attend(taken_as_exact(module), tokens);
        EXPECT_LE(used_radius(enclosure, exact_output(c, module.weights, tokens)), 1);
        EXPECT_LE(enclosure.radius.maxCoeff(), 1e-11 * (1 + tokens.norm()));
      }
    }
  }
}

TEST(Enclosure, HoldsAllModulesThatRoundToTheStoredOne) {
  const AttentionConfig c = config_of(false);
  Random random(7);
  for (const double unit : {f32, bf16}) {
    const StoredAttention module = stored(c, random_weights<double>(c, 1), unit);
    for (const Matrix<double>& tokens : inputs(c.model_width)) {
      const Enclosure enclosure = enclose_attend(module, tokens);
      for (int draw = 0; draw < 10; ++draw) {
        const auto w = moved(module, draw % 2 == 0, random);
        EXPECT_LE(used_radius(enclosure, exact_output(c, w, tokens)), 1);
      }
    }
  }
}

// One slot uncertain at a time: nothing else could make up for an error that is left out.
TEST(Enclosure, CountsTheErrorsOfEverySlot) {
  const AttentionConfig c = config_of(false);
  const StoredAttention exact = taken_as_exact(stored(c, random_weights<double>(c, 1), bf16));
  Random random(9);
  const auto expect_counted = [&](const char* slot, auto pick) {
    StoredAttention module = exact;
    for (std::size_t j = 0; j < module.weights.groups.size(); ++j)
      pick(module.radius.groups[j]) = bf16 * pick(module.weights.groups[j]).cwiseAbs();
    for (const Matrix<double>& tokens : inputs(c.model_width)) {
      const Enclosure enclosure = enclose_attend(module, tokens);
      for (int draw = 0; draw < 4; ++draw)
        EXPECT_LE(used_radius(enclosure, exact_output(c, moved(module, true, random), tokens)), 1) << slot;
    }
  };
  expect_counted(
      "key", [](auto& group) -> auto& { return group.key; });
  expect_counted(
      "value", [](auto& group) -> auto& { return group.value; });
  expect_counted(
      "value bias", [](auto& group) -> auto& { return group.value_bias; });
  expect_counted(
      "query", [](auto& group) -> auto& { return group.readers[0].query; });
  expect_counted(
      "query bias", [](auto& group) -> auto& { return group.readers[1].query_bias; });
  expect_counted(
      "output", [](auto& group) -> auto& { return group.readers[1].output; });
}

// The worst case of every output is known at the token zero: |bv| |r_O| + |r_bv| |O| and so on, no logits.
TEST(Enclosure, IsReachedWhereOnlyTheConstantCounts) {
  const AttentionConfig c = config_of(false);
  StoredAttention module = stored(c, random_weights<double>(c, 1), bf16);
  for_each_slot(module.radius, [](auto& slot) { slot.setZero(); });
  module.radius.output_bias = bf16 * module.weights.output_bias.cwiseAbs();
  const Matrix<double> zero = Matrix<double>::Zero(3, c.model_width);
  AttentionWeights<double> edge = module.weights;
  edge.output_bias += module.radius.output_bias;
  EXPECT_NEAR(used_radius(enclose_attend(module, zero), exact_output(c, edge, zero)), 1, 1e-6);
}

TEST(Distance, IsABoundAndZeroWhereTheyTouch) {
  const Enclosure x{Matrix<double>::Constant(1, 2, 1.0), Matrix<double>::Constant(1, 2, 0.25)};
  Enclosure y{Matrix<double>::Constant(1, 2, 1.5), Matrix<double>::Constant(1, 2, 0.25)};
  EXPECT_EQ(distance_at_least(x, y), 0);
  EXPECT_EQ(largest_separation(x, y), 1);
  y.center(0, 1) = 4.5;
  EXPECT_NEAR(distance_at_least(x, y), 3, 1e-12);
  EXPECT_LE(distance_at_least(x, y), 3);
  EXPECT_EQ(largest_separation(x, y), 7);
  y.radius(0, 0) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(distance_at_least(x, y), 0);
  EXPECT_EQ(largest_separation(x, y), 0);
}

}  // namespace
}  // namespace attnsym
