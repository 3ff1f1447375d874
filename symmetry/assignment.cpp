#include "symmetry/assignment.hpp"

#include <limits>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

constexpr Index free_column = -1;

// Grows a tree of cheapest alternating paths from one free row until it reaches a free column.
class AugmentingPath {
 public:
  AugmentingPath(const Matrix<double>& cost, RowVector<double>& row_price, RowVector<double>& column_price,
                 std::vector<Index>& row_of_column)
      : cost_(cost),
        row_price_(row_price),
        column_price_(column_price),
        row_of_column_(row_of_column),
        distance_(RowVector<double>::Constant(cost.cols(), std::numeric_limits<double>::infinity())),
        previous_(cost.cols(), free_column),
        done_(cost.cols(), false) {}

  void assign(Index start_row) {
    Index row = start_row;
    Index column = free_column;
    double length = 0;
    do {
      relax(row, column, length);
      column = nearest();
      length = distance_(column);
      done_[column] = true;
      row = row_of_column_[column];
    } while (row != free_column);
    update_prices(start_row, length);
    flip(start_row, column);
  }

 private:
  void relax(Index row, Index from, double length) {
    for (Index j = 0; j < cost_.cols(); ++j) {
      const double reduced = length + cost_(row, j) - row_price_(row) - column_price_(j);
      if (done_[j] || reduced >= distance_(j)) continue;
      distance_(j) = reduced;
      previous_[j] = from;
    }
  }

  Index nearest() const {
    Index best = free_column;
    for (Index j = 0; j < cost_.cols(); ++j) {
      if (!done_[j] && (best == free_column || distance_(j) < distance_(best))) best = j;
    }
    return best;
  }

  // Keeps reduced costs non-negative, and zero on the assignment.
  void update_prices(Index start_row, double length) {
    row_price_(start_row) += length;
    for (Index j = 0; j < cost_.cols(); ++j) {
      if (!done_[j] || row_of_column_[j] == free_column) continue;
      row_price_(row_of_column_[j]) += length - distance_(j);
      column_price_(j) -= length - distance_(j);
    }
  }

  void flip(Index start_row, Index column) {
    while (column != free_column) {
      const Index before = previous_[column];
      row_of_column_[column] = before == free_column ? start_row : row_of_column_[before];
      column = before;
    }
  }

  const Matrix<double>& cost_;
  RowVector<double>& row_price_;
  RowVector<double>& column_price_;
  std::vector<Index>& row_of_column_;
  RowVector<double> distance_;
  std::vector<Index> previous_;
  std::vector<bool> done_;
};

}  // namespace

Assignment solve_assignment(const Matrix<double>& cost) {
  if (cost.rows() != cost.cols()) throw ShapeError("an assignment needs a square cost matrix");
  if (!cost.allFinite()) throw ShapeError("an assignment needs finite costs");
  const Index n = cost.rows();
  RowVector<double> row_price = RowVector<double>::Zero(n);
  RowVector<double> column_price = RowVector<double>::Zero(n);
  std::vector<Index> row_of_column(n, free_column);
  for (Index row = 0; row < n; ++row)
    AugmentingPath(cost, row_price, column_price, row_of_column).assign(row);

  Assignment result{std::vector<Index>(n), 0};
  for (Index j = 0; j < n; ++j) {
    result.column_of_row[row_of_column[j]] = j;
    result.cost += cost(row_of_column[j], j);
  }
  return result;
}

}  // namespace attnsym
