// The reduced form: which heads go together, and what agreement of a class may hide.
#include "verify/head_classes.hpp"

#include <gtest/gtest.h>

#include "tests/support/random_module.hpp"

namespace attnsym {
namespace {

using testing::f16;
using testing::random_weights;
using testing::stored;

StoredAttention module(Index heads, std::uint64_t seed = 1) {
  const AttentionConfig c{24, heads, heads, 4, 3};
  return with_all_biases(stored(c, random_weights<double>(c, seed), f16));
}

TEST(Classify, PutsEqualCircuitsTogether) {
  StoredAttention a = module(3);
  a.weights.groups[2].key = -a.weights.groups[0].key;
  a.weights.groups[2].readers[0].query = -a.weights.groups[0].readers[0].query;
  const StoredAttention b = module(2);
  StoredAttention swapped = b;
  std::swap(swapped.weights.groups[0], swapped.weights.groups[1]);
  EXPECT_EQ(classify_heads(a, b), (HeadClasses{{{0, 2}, {0}}, {{1}, {1}}}));
  EXPECT_EQ(classify_heads(b, swapped), (HeadClasses{{{0}, {1}}, {{1}, {0}}}));
}

TEST(Classify, KeepsDifferentMasksApart) {
  const StoredAttention a = module(2);
  StoredAttention b = a;
  b.config.causal = true;
  EXPECT_EQ(classify_heads(a, b), (HeadClasses{{{0}, {}}, {{1}, {}}, {{}, {0}}, {{}, {1}}}));
}

TEST(CompareClass, SeesASumThatCancels) {
  StoredAttention a = module(2);
  a.weights.groups[1] = a.weights.groups[0];
  a.weights.groups[1].readers[0].output *= -1;
  a.radius.groups[1] = a.radius.groups[0];
  for (auto& group : a.radius.groups) {  // so that only the OV circuits are uncertain
    group.key *= 1e-6;
    group.readers[0].query *= 1e-6;
  }
  const ClassComparison compared = compare_class(a, module(1, 7), {{0, 1}, {}});
  EXPECT_TRUE(compared.explained_by_rounding());
  EXPECT_EQ(compared.vo.norm, 0);
  EXPECT_GT(compared.hidden_difference(), 1e-4) << "the rounding of either head is left";
  EXPECT_LT(compared.hidden_difference(), 0.01) << "measured by the heads, not by their sum";
}

TEST(CompareClass, RefusesAHeadThatDoesNotCancel) {
  const StoredAttention a = module(1);
  EXPECT_FALSE(compare_class(a, module(1, 7), {{0}, {}}).explained_by_rounding());
}

}  // namespace
}  // namespace attnsym
