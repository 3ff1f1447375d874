// Tables of relative positions: the buckets of T5, what of a table is free, and its canonical form.
#include "symmetry/distance_buckets.hpp"

#include <gtest/gtest.h>

#include "symmetry/canonical.hpp"
#include "symmetry/errors.hpp"
#include "tests/support/attention_kinds.hpp"
#include "tests/support/random_module.hpp"

namespace attnsym {
namespace {

using testing::random_weights;
using testing::tiny_config;

AttentionConfig t5(bool bidirectional) {
  AttentionConfig c = tiny_config(2, 2);
  c.causal = !bidirectional;
  c.distance_buckets = t5_buckets(32, 128, bidirectional);
  return c;
}

// The offsets at which the bucket changes, from the Python of Hugging Face with float32 in NumPy.
TEST(T5Buckets, AreThoseOfHuggingFace) {
  const auto edges = [](const AttentionConfig& c) {
    std::vector<Index> found;
    for (Index distance = 1; distance <= 200; ++distance) {
      if (c.bucket(-distance) != c.bucket(1 - distance)) found.push_back(distance);
    }
    return found;
  };
  const AttentionConfig encoder = t5(true);
  EXPECT_EQ(edges(encoder), (std::vector<Index>{1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91}));
  EXPECT_EQ(encoder.bucket(-300), 15);
  EXPECT_EQ(encoder.bucket(0), 0);
  EXPECT_EQ(encoder.bucket(1), 17);
  EXPECT_EQ(encoder.bucket(12), 25);
  EXPECT_EQ(encoder.bucket(300), 31);
  const AttentionConfig decoder = t5(false);
  EXPECT_EQ(edges(decoder),
            (std::vector<Index>{1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,
                                19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113}));
  EXPECT_EQ(decoder.bucket(5), 0);
  EXPECT_EQ(decoder.bucket_count(), 32);
}

TEST(T5Buckets, RefuseWhatIsNone) {
  EXPECT_THROW(t5_buckets(2, 128, true), ShapeError);
  EXPECT_THROW(t5_buckets(33, 128, false), ShapeError);
  EXPECT_THROW(t5_buckets(32, 8, true), ShapeError);
}

TEST(Tables, FreeIsAShiftAndWhatNothingReads) {
  EXPECT_EQ(free_table_dimension(tiny_config(2, 2)), 0);
  EXPECT_EQ(free_table_dimension(t5(true)), 2) << "no offset has bucket 16";
  EXPECT_EQ(free_table_dimension(t5(false)), 1);
  AttentionConfig c = t5(true);
  c.softcap = 3;
  EXPECT_EQ(free_table_dimension(c), 1);
  c.window = 4;
  EXPECT_EQ(free_table_dimension(c), 32 - 7);
}

TEST(Tables, ConfigRefusesEvenAndNegative) {
  AttentionConfig c = tiny_config(2, 2);
  c.distance_buckets = {0, 1};
  EXPECT_THROW(c.validate(), ShapeError);
  c.distance_buckets = {0, -1, 0};
  EXPECT_THROW(c.validate(), ShapeError);
}

TEST(Tables, ShiftsAndUnreadNumbersAreNotInTheCanonicalForm) {
  const AttentionConfig c = t5(true);
  const auto w = random_weights<double>(c, 5);
  auto moved = w;
  moved.groups[0].readers[0].distance_bias.array() += 2;
  moved.groups[1].readers[0].distance_bias(16) = 7;
  const auto form = canonicalize(w, c);
  const auto other = canonicalize(moved, c);
  for (Index j = 0; j < 2; ++j) {
    const RowVector<double>& table = form.weights.groups[j].readers[0].distance_bias;
    EXPECT_EQ(table(0), 0);
    EXPECT_EQ(table(16), 0);
    EXPECT_LT((table - other.weights.groups[j].readers[0].distance_bias).norm(), 1e-14);
  }
  EXPECT_FALSE(form.canonical_from_input.has_value());
  EXPECT_TRUE(canonicalize(form.weights, c).canonical_from_input.has_value());
}

// Heads that differ in a table only attend differently, and are not merged.
TEST(Tables, DecideWhetherHeadsAreMerged) {
  const AttentionConfig c = t5(true);
  auto w = random_weights<double>(c, 5);
  w.groups[1].key = w.groups[0].key;
  w.groups[1].readers[0].query = w.groups[0].readers[0].query;
  EXPECT_EQ(canonicalize(w, c).classes.size(), 2U);
  w.groups[1].readers[0].distance_bias = w.groups[0].readers[0].distance_bias.array() + 0.3;
  EXPECT_EQ(canonicalize(w, c).classes.size(), 1U);
}

}  // namespace
}  // namespace attnsym
