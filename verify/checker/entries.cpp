#include "verify/checker/entries.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "symmetry/errors.hpp"
#include "verify/comparison.hpp"

namespace attnsym {
namespace {

double discounted(double ratio, Index count) {
  return ratio / (1 + 1 / std::sqrt(static_cast<double>(std::max<Index>(count, 1))));
}

}  // namespace

double EntryComparison::largest_ratio() const {
  if (std::isnan(ratio) || std::isnan(row_ratio) || std::isnan(column_ratio)) return std::nan("");
  return std::max({ratio, row_ratio, column_ratio});
}

bool EntryComparison::agrees() const {
  return largest_ratio() <= limit && (is_exact || hidden <= coarsest_resolution);
}

EntryComparison worse(const EntryComparison& x, const EntryComparison& y) {
  const auto weight = [](const EntryComparison& c) {
    const double largest = c.largest_ratio() / c.limit;
    return std::isnan(largest) ? std::numeric_limits<double>::infinity() : largest;
  };
  EntryComparison result = weight(y) > weight(x) ? y : x;
  result.resolution = std::max(x.resolution, y.resolution);
  result.hidden = std::max(x.hidden, y.hidden);
  result.is_exact = x.is_exact && y.is_exact;
  return result;
}

void EntrySums::Lines::note(const RowVector<double>& squares, const RowVector<double>& variances,
                            Index length, Index first) {
  for (Index k = 0; k < squares.size(); ++k) {
    const double r = discounted(attnsym::ratio(std::sqrt(squares(k)), variances(k)), length);
    if (r <= ratio || std::isnan(ratio)) continue;
    ratio = r;
    place = first + k;
  }
}

void EntrySums::add(const StoredMatrix& a, const StoredMatrix& b) {
  const Index rows = a.value.rows();
  const Index columns = a.value.cols();
  if (rows != b.value.rows() || columns != b.value.cols()) {
    throw ShapeError("matrices of " + std::to_string(rows) + " x " + std::to_string(columns) + " and " +
                     std::to_string(b.value.rows()) + " x " + std::to_string(b.value.cols()) +
                     " cannot be compared");
  }
  if (a.value.size() == 0) return;
  RowVector<double> column_squares(columns);
  RowVector<double> column_variances(columns);
  Eigen::ArrayXd row_squares = Eigen::ArrayXd::Zero(rows);
  Eigen::ArrayXd row_variances = row_squares;
  Eigen::ArrayXd squares(rows);
  Eigen::ArrayXd variances(rows);
  // Column by column, as the numbers lie in memory.
  for (Index k = 0; k < columns; ++k) {
    squares = (a.value.col(k) - b.value.col(k)).array().square();
    variances = (a.radius.col(k).array().square() + b.radius.col(k).array().square()) / 3;
    row_squares += squares;
    row_variances += variances;
    column_squares(k) = squares.sum();
    column_variances(k) = variances.sum();
    norm_a_ += a.value.col(k).squaredNorm();
    norm_b_ += b.value.col(k).squaredNorm();
    radius_a_ += a.radius.col(k).squaredNorm();
    radius_b_ += b.radius.col(k).squaredNorm();
  }
  RowVector<double> row_sums = row_squares.matrix().transpose();
  RowVector<double> row_noise = row_variances.matrix().transpose();
  const bool by_rows = chunks_ == Chunks::Rows;
  whole_.note(by_rows ? row_sums : column_squares, by_rows ? row_noise : column_variances,
              by_rows ? columns : rows, whole_count_);
  whole_count_ += by_rows ? rows : columns;
  const RowVector<double>& open_squares = by_rows ? column_squares : row_sums;
  const RowVector<double>& open_variances = by_rows ? column_variances : row_noise;
  if (open_squares_.size() == 0) {
    open_squares_ = open_squares;
    open_variances_ = open_variances;
  } else {
    open_squares_ += open_squares;
    open_variances_ += open_variances;
  }
}

EntryComparison EntrySums::result(Index inner_width) const {
  EntryComparison result;
  if (whole_count_ == 0) return result;
  Lines open;
  open.note(open_squares_, open_variances_, whole_count_, 0);
  const bool by_rows = chunks_ == Chunks::Rows;
  const Lines& rows = by_rows ? whole_ : open;
  const Lines& columns = by_rows ? open : whole_;
  result.row_ratio = rows.ratio;
  result.row = rows.place;
  result.column_ratio = columns.ratio;
  result.column = columns.place;
  const double variance = open_variances_.sum();
  result.ratio = attnsym::ratio(std::sqrt(open_squares_.sum()), variance);
  const double norm = std::max(norm_a_, norm_b_);
  result.resolution = norm > 0 ? std::sqrt(variance / norm) : 0;
  const auto unit = [](double radius, double size) { return size > 0 ? std::sqrt(radius / size) : 0; };
  result.limit = ratio_limit(inner_width, std::max(unit(radius_a_, norm_a_), unit(radius_b_, norm_b_)));
  result.hidden = result.resolution * result.limit / 2;
  result.is_exact = open_squares_.sum() == 0;
  return result;
}

EntryComparison compare_entries(const StoredMatrix& a, const StoredMatrix& b, Index inner_width) {
  EntrySums sums;
  sums.add(a, b);
  return sums.result(inner_width);
}

}  // namespace attnsym
