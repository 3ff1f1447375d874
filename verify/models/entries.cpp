#include "verify/models/entries.hpp"

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
  return largest_ratio() <= limit && (is_exact || resolution * limit / 2 <= coarsest_resolution);
}

EntryComparison worse(const EntryComparison& x, const EntryComparison& y) {
  const auto weight = [](const EntryComparison& c) {
    const double largest = c.largest_ratio() / c.limit;
    return std::isnan(largest) ? std::numeric_limits<double>::infinity() : largest;
  };
  EntryComparison result = weight(y) > weight(x) ? y : x;
  result.resolution = std::max(x.resolution, y.resolution);
  result.is_exact = x.is_exact && y.is_exact;
  return result;
}

void EntrySums::add(const StoredMatrix& a, const StoredMatrix& b) {
  if (a.value.rows() != b.value.rows() || a.value.cols() != b.value.cols()) {
    throw ShapeError("matrices of " + std::to_string(a.value.rows()) + " x " +
                     std::to_string(a.value.cols()) + " and " + std::to_string(b.value.rows()) + " x " +
                     std::to_string(b.value.cols()) + " cannot be compared");
  }
  if (a.value.size() == 0) return;
  const Matrix<double> squares = (a.value - b.value).cwiseAbs2();
  const Matrix<double> variances = (a.radius.cwiseAbs2() + b.radius.cwiseAbs2()) / 3;
  if (column_squares_.size() == 0) {
    column_squares_ = RowVector<double>::Zero(a.value.cols());
    column_variances_ = column_squares_;
  }
  for (Index row = 0; row < squares.rows(); ++row) {
    const double r = discounted(attnsym::ratio(std::sqrt(squares.row(row).sum()), variances.row(row).sum()),
                                squares.cols());
    if (r <= so_far_.row_ratio || std::isnan(so_far_.row_ratio)) continue;
    so_far_.row_ratio = r;
    so_far_.row = rows_ + row;
  }
  rows_ += squares.rows();
  column_squares_ += squares.colwise().sum();
  column_variances_ += variances.colwise().sum();
  squares_ += squares.sum();
  variance_ += variances.sum();
  norm_a_ += a.value.squaredNorm();
  norm_b_ += b.value.squaredNorm();
  radius_a_ += a.radius.squaredNorm();
  radius_b_ += b.radius.squaredNorm();
}

EntryComparison EntrySums::result(Index inner_width) const {
  EntryComparison result = so_far_;
  if (rows_ == 0) return result;
  result.ratio = attnsym::ratio(std::sqrt(squares_), variance_);
  for (Index column = 0; column < column_squares_.size(); ++column) {
    const double r =
        discounted(attnsym::ratio(std::sqrt(column_squares_(column)), column_variances_(column)), rows_);
    if (r <= result.column_ratio || std::isnan(result.column_ratio)) continue;
    result.column_ratio = r;
    result.column = column;
  }
  const double norm = std::max(norm_a_, norm_b_);
  result.resolution = norm > 0 ? std::sqrt(variance_ / norm) : 0;
  const auto unit = [](double radius, double size) { return size > 0 ? std::sqrt(radius / size) : 0; };
  result.limit = ratio_limit(inner_width, std::max(unit(radius_a_, norm_a_), unit(radius_b_, norm_b_)));
  result.is_exact = squares_ == 0;
  return result;
}

EntryComparison compare_entries(const StoredMatrix& a, const StoredMatrix& b, Index inner_width) {
  EntrySums sums;
  sums.add(a, b);
  return sums.result(inner_width);
}

}  // namespace attnsym
