// Rounding has no direction: what moves all rows of a factor along one of them is an edit, however small it
// is in every row [N7, aligned differences].
#include "verify/checker/alignment.hpp"

#include <gtest/gtest.h>

#include "symmetry/svd.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/support/attention_kinds.hpp"
#include "tests/support/random_module.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/decide.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f32;
using testing::random_weights;
using testing::stored;

constexpr Index width = 192;

std::vector<AttentionConfig> configs() {
  AttentionConfig plain{width, 2, 1, 12, 12};
  plain.causal = true;
  plain.scale = 0.3;
  const AttentionConfig turned = testing::with_rotary(plain, {1, 0.3, 0.1, 0.03, 0.01, 0.003});
  return {plain, testing::with_biases(plain), turned};
}

enum class Edited { Nothing, Query, Key, Value, Output };

// Every row (of W_O: every column) along one direction, by this many standard deviations of its rounding.
void edit(AttentionWeights<double>& weights, Edited what, double size, Random& random) {
  if (what == Edited::Nothing) return;
  KvGroup<double>& group = weights.groups[0];
  QueryHead<double>& reader = group.readers[0];
  const bool turned = what == Edited::Output;
  Matrix<double> rows = what == Edited::Query ? reader.query
                        : what == Edited::Key ? group.key
                        : turned              ? Matrix<double>(reader.output.transpose())
                                              : group.value;
  RowVector<double> direction(rows.cols());
  for (Index k = 0; k < direction.size(); ++k) direction(k) = random.normal();
  direction.normalize();
  for (Index i = 0; i < rows.rows(); ++i)
    rows.row(i) += size * bf16 * rows.row(i).norm() / std::sqrt(3.0) * direction;
  if (what == Edited::Query) reader.query = rows;
  if (what == Edited::Key) group.key = rows;
  if (what == Edited::Value) group.value = rows;
  if (turned) reader.output = rows.transpose();
}

// A as BF16, B edited, moved and finer.
struct Pair {
  StoredAttention a;
  StoredAttention b;
  AttentionElement<double> b_from_a;
};

// At most the largest singular value and near it where one stands out; of Gram matrices alone no less.
TEST(Alignment, SeesTheLargestSingularValue) {
  for (const double size : {0.0, 0.3, 30.0}) {
    Matrix<double> left = fixed_probe<double>(60, 8, 1);
    left += size * fixed_probe<double>(60, 1, 2) * fixed_probe<double>(1, 8, 3);
    const Matrix<double> right = fixed_probe<double>(50, 8, 4);
    const Matrix<double> gram = right.transpose() * right;
    Alignment alignment;
    alignment.begin(left, gram);
    for (int step = 0; step < Alignment::steps; ++step) {
      alignment.step();
      alignment.apply(left, gram);
    }
    alignment.step();
    const double largest = singular_values(left * right.transpose())(0);
    EXPECT_LE(alignment.seen(), largest * (1 + 1e-12));
    EXPECT_GE(alignment.seen(), (size > 1 ? 0.9999 : 0.7) * largest);
    EXPECT_NEAR(alignment_of_grams(left.transpose() * left, gram), alignment.seen(), 1e-10 * largest);
  }
  const Matrix<double> zero = Matrix<double>::Zero(3, 3);
  EXPECT_EQ(alignment_of_grams(zero, zero), 0);
  EXPECT_TRUE(std::isnan(alignment_of_grams(zero.array() + std::nan(""), zero.array() + 1)));
}

Pair pair(const AttentionConfig& c, Edited what, double size, std::uint64_t seed, double condition = 10) {
  Random random(seed);
  const AttentionWeights<double> original = random_weights<double>(c, seed);
  AttentionWeights<double> edited = original;
  edit(edited, what, size, random);
  const auto b_from_a = symmetry_of(c).sample<double>(random, {.condition = condition});
  return {stored(c, original, bf16), stored(c, act(b_from_a, edited), f32), b_from_a};
}

TEST(Alignment, RoundingHasNone) {
  for (const AttentionConfig& c : configs()) {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      const Pair same = pair(c, Edited::Nothing, 0, seed, seed % 2 == 0 ? 10 : 1);
      EXPECT_STREQ(name_of(decide_equivalence(same.a, same.b).verdict), "equivalent") << seed;
      EXPECT_EQ(refute_equivalence(same.a, same.b, same.b_from_a), std::nullopt) << seed;
    }
  }
}

TEST(Alignment, OfAnEditIsNoRounding) {
  constexpr double size = 1.5;  // rows have ratios of 1.7, and the limit is 2
  for (const AttentionConfig& c : configs()) {
    for (const Edited what : {Edited::Query, Edited::Key, Edited::Value, Edited::Output}) {
      Pair other = pair(c, what, size, 5);
      // An input that shows it is sought for seconds.
      const bool decided = what == Edited::Query || (c.rotary.pairs() > 0 && what == Edited::Output);
      if (decided) {
        EXPECT_STREQ(name_of(decide_equivalence(other.a, other.b).verdict), "undecided");
      }
      EXPECT_NE(refute_equivalence(other.a, other.b, other.b_from_a), std::nullopt) << static_cast<int>(what);
      // Nothing else sees it.
      other.a.independent = false;
      EXPECT_STREQ(name_of(decide_equivalence(other.a, other.b).verdict), "equivalent")
          << static_cast<int>(what);
      EXPECT_EQ(refute_equivalence(other.a, other.b, other.b_from_a), std::nullopt) << static_cast<int>(what);
    }
  }
}

}  // namespace
}  // namespace attnsym
