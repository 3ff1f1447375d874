// The assignment against brute force over all permutations.
#include "symmetry/assignment.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "symmetry/errors.hpp"
#include "symmetry/random.hpp"

namespace attnsym {
namespace {

double cost_of(const Matrix<double>& cost, const std::vector<Index>& columns) {
  double sum = 0;
  for (std::size_t i = 0; i < columns.size(); ++i) sum += cost(i, columns[i]);
  return sum;
}

double brute_force(const Matrix<double>& cost) {
  std::vector<Index> columns(cost.rows());
  std::iota(columns.begin(), columns.end(), Index{0});
  double best = std::numeric_limits<double>::infinity();
  do {
    best = std::min(best, cost_of(cost, columns));
  } while (std::next_permutation(columns.begin(), columns.end()));
  return best;
}

bool is_permutation_of_all(std::vector<Index> columns) {
  std::sort(columns.begin(), columns.end());
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i] != static_cast<Index>(i)) return false;
  }
  return true;
}

void expect_optimal(const Matrix<double>& cost) {
  const Assignment found = solve_assignment(cost);
  ASSERT_TRUE(is_permutation_of_all(found.column_of_row));
  EXPECT_DOUBLE_EQ(found.cost, cost_of(cost, found.column_of_row));
  EXPECT_NEAR(found.cost, brute_force(cost), 1e-12 * (1 + cost.cwiseAbs().sum()));
}

TEST(Assignment, IsOptimalOnRandomCosts) {
  for (Index n = 0; n <= 7; ++n) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) expect_optimal(fixed_probe<double>(n, n, 100 * seed + n));
  }
}

TEST(Assignment, IsOptimalWithTiesHugeAndTinyCosts) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Matrix<double> cost = fixed_probe<double>(6, 6, seed);
    expect_optimal((2 * cost).array().round());  // -2..2: many ties
    for (Index i = 0; i < cost.size(); ++i)
      cost.data()[i] = std::copysign(std::pow(10.0, 12 * cost.data()[i]), cost.data()[i]);
    expect_optimal(cost);
  }
}

TEST(Assignment, GreedyIsNotEnough) {
  Matrix<double> cost(2, 2);
  cost << 0, 1, 1, 100;  // the cheapest entry belongs to the dearer assignment
  EXPECT_EQ(solve_assignment(cost).column_of_row, (std::vector<Index>{1, 0}));
}

TEST(Assignment, RecoversAPermutationOf300) {
  const Index n = 300;
  Matrix<double> cost = fixed_probe<double>(n, n, 9).array() + 2;
  for (Index i = 0; i < n; ++i) cost(i, (7 * i + 3) % n) = 0;
  const Assignment found = solve_assignment(cost);
  for (Index i = 0; i < n; ++i) EXPECT_EQ(found.column_of_row[i], (7 * i + 3) % n);
}

TEST(Assignment, RefusesWhatIsNotACostMatrix) {
  EXPECT_THROW(solve_assignment(Matrix<double>::Zero(2, 3)), ShapeError);
  Matrix<double> nan = Matrix<double>::Zero(2, 2);
  nan(1, 1) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(solve_assignment(nan), ShapeError);
}

}  // namespace
}  // namespace attnsym
