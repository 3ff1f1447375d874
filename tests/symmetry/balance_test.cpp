// The short cuts of balancing agree with the general way [N6].
#include "symmetry/balance.hpp"

#include <gtest/gtest.h>

#include "symmetry/balance_scores.hpp"
#include "symmetry/random.hpp"

namespace attnsym {
namespace {

constexpr double bf16 = 0x1p-8;

// One pair of coordinates that turns forwards, one that turns backwards.
std::vector<GaugeBlock> two_pairs() { return {{0.5, 0, {0}, {2}, {1}}, {1.0, 0, {1}, {3}, {-1}}}; }

Matrix<double> embedded_pair(const Matrix<double>& matrix, const GaugeBlock& block) {
  Matrix<double> result(2 * matrix.rows(), 2);
  const Matrix<double> columns = block_columns(matrix, block);
  result << columns.col(0), -columns.col(1), columns.col(1), columns.col(0);
  return result;
}

TEST(BalancePair, AgreesWithTheEmbedding) {
  const Matrix<double> queries = fixed_probe<double>(9, 4, 1);
  const Matrix<double> keys = fixed_probe<double>(5, 4, 2);
  const BalancedScores<double> scores = balance_scores<double>(queries, keys, two_pairs(), 1e-12, 0);
  EXPECT_EQ(scores.all.rank, 4);
  double margin = 1;
  for (std::size_t b = 0; b < 2; ++b) {
    const GaugeBlock block = two_pairs()[b];
    const Balanced<double> general =
        balance<double>(embedded_pair(queries, block), embedded_pair(keys, block), 1e-12, 0, Probe::Embedded);
    EXPECT_TRUE(is_close(embedded_pair(scores.all.left, block), general.left));
    EXPECT_TRUE(is_close(embedded_pair(scores.all.right, block), general.right));
    EXPECT_NEAR(scores.sigma[b](0), general.sigma(0), 1e-13);
    margin = std::min(margin, general.sign_margin);
  }
  EXPECT_NEAR(scores.all.sign_margin, margin, 1e-13);
  ASSERT_TRUE(scores.all.linear.has_value());
  EXPECT_TRUE(is_close(Matrix<double>(keys * scores.all.linear->matrix().transpose()), scores.all.right));
  EXPECT_TRUE(is_close(Matrix<double>(queries * scores.all.linear->inverse_matrix()), scores.all.left));
}

TEST(BalancePair, InPlaceIsTheSame) {
  Matrix<double> queries = fixed_probe<double>(9, 4, 1);
  Matrix<double> keys = fixed_probe<double>(5, 4, 2);
  const BalancedScores<double> scores = balance_scores<double>(queries, keys, two_pairs(), 1e-12, 0);
  FactorParts<double> above_and_below{queries.topRows(4), queries.bottomRows(5)};
  FactorParts<double> whole{keys};
  balance_pairs<double>(above_and_below, whole, two_pairs(), 1e-12, 0);
  EXPECT_TRUE(is_close(queries, scores.all.left));
  EXPECT_TRUE(is_close(keys, scores.all.right));
}

TEST(BalancePair, IsZeroUpToItsNoise) {
  Matrix<double> queries = fixed_probe<double>(9, 4, 1);
  queries.col(1).setZero();
  queries.col(3).setZero();
  const BalancedScores<double> scores =
      balance_scores<double>(queries, fixed_probe<double>(5, 4, 2), two_pairs(), 1e-12, 0);
  EXPECT_EQ(scores.all.rank, 2);
  EXPECT_EQ(scores.sigma[1](0), 0);
  EXPECT_TRUE(scores.all.right.col(1).isZero(0) && scores.all.right.col(3).isZero(0));
  EXPECT_FALSE(scores.all.linear.has_value());
}

// Squares of these numbers are zero, or infinite.
TEST(BalancePair, TakesNumbersOfAnySize) {
  const Matrix<double> queries = fixed_probe<double>(9, 4, 1);
  const Matrix<double> keys = fixed_probe<double>(5, 4, 2);
  const BalancedScores<double> plain = balance_scores<double>(queries, keys, two_pairs(), 1e-12, 0);
  const BalancedScores<double> extreme =
      balance_scores<double>(queries * 0x1p-600, keys * 0x1p600, two_pairs(), 1e-12, 0);
  EXPECT_TRUE(is_close(extreme.all.left, plain.all.left));
  EXPECT_TRUE(is_close(extreme.all.right, plain.all.right));
}

TEST(BalanceByProducts, AgreesWithReflections) {
  const Matrix<double> left = fixed_probe<double>(60, 5, 1);
  const Matrix<double> right = fixed_probe<double>(40, 5, 2);
  const Balanced<double> general = balance<double>(left, right, bf16);
  const auto fast = balance_by_products<double>(left.transpose() * left, 60, right, bf16);
  ASSERT_TRUE(fast.has_value());
  EXPECT_TRUE(is_close(fast->linear->matrix(), general.linear->matrix()));
  EXPECT_TRUE(is_close(fast->sigma, general.sigma));
  EXPECT_NEAR(fast->sign_margin, general.sign_margin, 1e-12);
}

TEST(BalanceByProducts, IsAbsentWhereProductsSayTooLittle) {
  const Matrix<double> left = fixed_probe<double>(60, 5, 1);
  const Matrix<double> right = fixed_probe<double>(40, 5, 2);
  EXPECT_FALSE(balance_by_products<double>(left.transpose() * left, 60, right, 1e-12)) << "too precise";
  Matrix<double> nearly_singular = left;
  nearly_singular.col(0) = left.col(1) + 1e-6 * left.col(0);
  EXPECT_FALSE(balance_by_products<double>(nearly_singular.transpose() * nearly_singular, 60, right, bf16));
  Matrix<double> singular = left;
  singular.col(0) = left.col(1);
  EXPECT_FALSE(balance_by_products<double>(singular.transpose() * singular, 60, right, bf16));
}

}  // namespace
}  // namespace attnsym
