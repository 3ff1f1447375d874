// What changes of stored weights look like.
#include "verify/difference_kind.hpp"

#include <gtest/gtest.h>

#include "tests/support/random_module.hpp"
#include "verify/stored_circuit.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f16;
using testing::f32;
using testing::random_weights;
using testing::stored;

const AttentionConfig config{64, 8, 4, 16, 16};

StoredAttention module(double unit) {
  return with_all_biases(stored(config, random_weights<double>(config, 6), unit));
}

// Of the keys of B, which the edit made of A's, stored with this unit.
template <class Edit>
ProjectionDifference after(double unit_a, double unit_b, Edit edit) {
  const StoredAttention a = module(unit_a);
  AttentionWeights<double> weights = a.weights;
  for (auto& group : weights.groups) edit(group.key);
  const StoredAttention b = with_all_biases(stored(a.config, weights, unit_b));
  for (const ProjectionDifference& one : projection_differences(a, b))
    if (one.projection == Projection::Key) return one;
  return {};
}

const auto nothing = [](Matrix<double>&) {};

TEST(DifferenceKind, EqualAndFewEntries) {
  EXPECT_EQ(after(f32, f32, nothing).kind, DifferenceKind::None);
  const ProjectionDifference few = after(f32, f32, [](Matrix<double>& key) { key(3, 2) += 1; });
  EXPECT_EQ(few.kind, DifferenceKind::FewEntries);
  EXPECT_NEAR(few.changed, 1.0 / (64 * 16), 1e-12);
}

// One of 16 is more than a hundredth, and no dense change all the same.
TEST(DifferenceKind, FewOfAVector) {
  const Matrix<double> ones = Matrix<double>::Ones(16, 1);
  Matrix<double> b = ones;
  b(3) = 1.5;
  EXPECT_EQ(matrix_difference(ones, b, 4 * f32).kind, DifferenceKind::FewEntries);
  b.topRows(8).setConstant(1.5);
  EXPECT_NE(matrix_difference(ones, b, 4 * f32).kind, DifferenceKind::FewEntries);
}

TEST(DifferenceKind, RoundingToFewerBits) {
  for (const auto& [unit, bits] : {std::pair{bf16, 8}, std::pair{f16, 11}}) {
    const ProjectionDifference rounded = after(f32, unit, nothing);
    EXPECT_EQ(rounded.kind, DifferenceKind::Rounding);
    EXPECT_EQ(rounded.detail, bits);
    EXPECT_EQ(after(unit, f32, nothing).kind, DifferenceKind::None) << "nothing was lost";
  }
}

// q = round(w / step), 32 numbers of a row of the file at a time.
void quantise(Matrix<double>& key, double largest) {
  for (Index column = 0; column < key.cols(); ++column) {
    for (Index row = 0; row < key.rows(); row += 32) {
      auto block = key.col(column).segment(row, 32);
      const double step = block.cwiseAbs().maxCoeff() / largest;
      block = step * (block / step).array().round();
    }
  }
}

TEST(DifferenceKind, QuantisationInBlocks) {
  const auto eight = after(bf16, f32, [](Matrix<double>& key) { quantise(key, 127); });
  EXPECT_EQ(eight.kind, DifferenceKind::Quantisation);
  EXPECT_EQ(eight.detail, 8);
  const auto four = after(bf16, f32, [](Matrix<double>& key) { quantise(key, 7); });
  EXPECT_EQ(four.kind, DifferenceKind::Quantisation);
  EXPECT_EQ(four.detail, 4);
}

// A row of the file crosses all heads: 32 numbers are two of these.
TEST(DifferenceKind, QuantisationOfOutputs) {
  const StoredAttention a = module(bf16);
  AttentionWeights<double> weights = a.weights;
  for (auto& group : weights.groups) {
    Matrix<double> both(32, 64);
    both << group.readers[0].output, group.readers[1].output;
    quantise(both, 7);
    group.readers[0].output = both.topRows(16);
    group.readers[1].output = both.bottomRows(16);
  }
  const StoredAttention b = with_all_biases(stored(a.config, weights, f32));
  const ProjectionDifference largest = projection_differences(a, b).front();
  EXPECT_EQ(largest.projection, Projection::Output);
  EXPECT_EQ(largest.kind, DifferenceKind::Quantisation) << describe(largest);
  EXPECT_EQ(largest.detail, 4);
}

// One change of rank 3 of all keys together.
TEST(DifferenceKind, LowRankAndDense) {
  const auto changed = [](Index rank) {
    const StoredAttention a = module(bf16);
    AttentionWeights<double> weights = a.weights;
    const Matrix<double> left = fixed_probe<double>(64, rank, 1);
    const Matrix<double> right = fixed_probe<double>(rank, 64, 2);
    for (Index j = 0; j < 4; ++j)
      weights.groups[j].key += 0.2 / std::sqrt(rank) * left * right.middleCols(16 * j, 16);
    return projection_differences(a, with_all_biases(stored(a.config, weights, bf16))).front();
  };
  const ProjectionDifference low = changed(3);
  EXPECT_EQ(low.projection, Projection::Key);
  EXPECT_EQ(low.kind, DifferenceKind::LowRank);
  EXPECT_EQ(low.detail, 3);
  EXPECT_EQ(changed(40).kind, DifferenceKind::Dense);
}

TEST(DifferenceKind, OtherWeights) {
  const StoredAttention a = module(bf16);
  const StoredAttention b = with_all_biases(stored(config, random_weights<double>(config, 7), bf16));
  const auto differences = projection_differences(a, b);
  ASSERT_EQ(differences.size(), 4U);
  for (const ProjectionDifference& one : differences) EXPECT_EQ(one.kind, DifferenceKind::Unrelated);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_LE(differences[i].relative, differences[i - 1].relative);
}

}  // namespace
}  // namespace attnsym
