// Rotary positions that are others in long sequences [N5].
#include <gtest/gtest.h>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/attention_kinds.hpp"
#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/decide.hpp"
#include "verify/enclosure.hpp"
#include "verify/exact.hpp"

namespace attnsym {
namespace {

using testing::f32;
using testing::random_weights;
using testing::stored;
using testing::tiny_config;
using testing::with_beyond;
using testing::with_rotary;

const std::vector<double> two{1.0, 0.3};

Matrix<double> tokens(Index rows) { return fixed_probe<double>(rows, 6, 2); }

double relative(const Matrix<double>& a, const Matrix<double>& b) { return (a - b).norm() / a.norm(); }

AttentionElement<double> sample(const AttentionConfig& c) {
  Random random(11);
  return symmetry_of(c).sample<double>(random);
}

std::string verdict_of(const StoredAttention& a, const StoredAttention& b) {
  return name_of(decide_equivalence(a, b).verdict);
}

TEST(Attend, LongSequencesHaveTheFrequenciesBeyondTheLength) {
  const AttentionConfig c = with_rotary(tiny_config(2, 2), {1.0, 0.3});
  const AttentionConfig others = with_rotary(tiny_config(2, 2), {0.9, 0.1});
  const AttentionConfig both = with_beyond(c, 4, {0.9, 0.1});
  const auto w = random_weights<double>(c, 3);
  EXPECT_EQ(attend(both, w, tokens(4)), attend(c, w, tokens(4)));
  EXPECT_EQ(attend(both, w, tokens(5)), attend(others, w, tokens(5)));
  const StoredAttention module = stored(both, w, f32);
  const Matrix<double> apart =
      enclose_attend(module, tokens(5)).center - attend(others, module.weights, tokens(5));
  EXPECT_LT(apart.norm(), 1e-12);
  // Dynamic scaling by 3: six tokens make the base (3 * 6 / 4 - 2)^2 times as large, whose roots the pairs
  // have.
  AttentionConfig dynamic = c;
  dynamic.rotary.beyond = {4, {1.0, 0.3 / 4}, 3};
  const AttentionConfig grown = with_rotary(tiny_config(2, 2), {1.0, 0.3 / 2.5});
  EXPECT_LT((attend(dynamic, w, tokens(6)) - attend(grown, w, tokens(6))).norm(), 1e-14);
  EXPECT_EQ(attend(dynamic, w, tokens(4)), attend(c, w, tokens(4)));
}

// Moved by its group such a module computes the same in short and in long sequences.
TEST(Decide, ModulesThatTurnOtherwiseInLongSequences) {
  const AttentionConfig c = with_beyond(with_rotary(tiny_config(2, 2), {0.7, 0.7}), 4, {0.7, 0.3});
  const StoredAttention a = stored(c, random_weights<double>(c, 6), f32);
  const StoredAttention moved = stored(c, act(sample(c), a.weights), f32);
  EXPECT_EQ(verdict_of(a, moved), "equivalent");
  for (const Index count : {4, 6})
    EXPECT_LT(relative(attend(c, a.weights, tokens(count)), attend(c, moved.weights, tokens(count))), 1e-5);

  // The group of short sequences alone is too large.
  AttentionConfig plain = c;
  plain.rotary.beyond.reset();
  const StoredAttention mixed = stored(c, act(sample(plain), a.weights), f32);
  EXPECT_LT(relative(attend(c, a.weights, tokens(4)), attend(c, mixed.weights, tokens(4))), 1e-5);
  EXPECT_GT(relative(attend(c, a.weights, tokens(6)), attend(c, mixed.weights, tokens(6))), 1e-3);
  EXPECT_EQ(verdict_of(a, mixed), "distinct");
}

// Equal weights that turn otherwise in sequences longer than those that are tried.
TEST(Decide, ALengthBeyondWhichModulesTurnOtherwiseMakesThemOthers) {
  const AttentionConfig plain = with_rotary(tiny_config(2, 2), two);
  const StoredAttention a = stored(plain, random_weights<double>(plain, 6), f32);
  const std::vector<RotaryBeyond> others{
      {1000, {1.0, 0.2}, 0}, {2000, {1.0, 0.2}, 0}, {1000, {1.0, 0.1}, 0}, {1000, {1.0, 0.2}, 4}};
  std::vector<StoredAttention> modules{a};
  for (const RotaryBeyond& beyond : others) {
    modules.push_back(a);
    modules.back().config.rotary.beyond = beyond;
  }
  for (std::size_t i = 0; i < modules.size(); ++i) {
    for (std::size_t j = 0; j < modules.size(); ++j) {
      SCOPED_TRACE(std::to_string(i) + " " + std::to_string(j));
      const Decision decision = decide_equivalence(modules[i], modules[j]);
      if (i == j) {
        EXPECT_STREQ(name_of(decision.verdict), "identical");
        continue;
      }
      ASSERT_STREQ(name_of(decision.verdict), "undecided");
      EXPECT_NE(std::get<Undecided>(decision.verdict).reason.find("in sequences of more than"),
                std::string::npos);
      EXPECT_STREQ(name_of(decide_exactly(modules[i], modules[j], 5).verdict), "undecided");
      const AttentionElement<double> one = identity_element<double>(plain);
      EXPECT_TRUE(refute_identity(modules[i], modules[j], one));
      EXPECT_TRUE(refute_equivalence(modules[i], modules[j], one));
      const HeadClasses classes{{{0}, {0}}, {{1}, {1}}};
      EXPECT_TRUE(refute_equivalence(modules[i], modules[j], classes));
      EXPECT_TRUE(refute_exact_equality(modules[i], modules[j], classes, 5));
    }
  }
  // A short length is one that a witness shows.
  StoredAttention b = a;
  b.config.rotary.beyond = {3, {1.0, 0.2}, 0};
  EXPECT_EQ(verdict_of(a, b), "distinct");
}

}  // namespace
}  // namespace attnsym
