#include "verify/comparison.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <utility>

namespace attnsym {

double CircuitComparison::largest_ratio() const {
  // Not std::max alone: NaN has to win.
  const std::initializer_list<double> ratios{ratio, largest_frequency_ratio, largest_row_ratio,
                                             largest_column_ratio};
  if (std::any_of(ratios.begin(), ratios.end(), [](double r) { return std::isnan(r); }))
    return std::numeric_limits<double>::quiet_NaN();
  return std::max(ratios);
}

// One by one: no comparison with NaN holds.
bool CircuitComparison::explained_by_rounding() const {
  return ratio <= limit && largest_frequency_ratio <= limit &&
         largest_row_ratio <= std::max(limit, row_limit) &&
         largest_column_ratio <= std::max(limit, column_limit);
}

CircuitComparison CircuitComparison::transposed() const {
  CircuitComparison result = *this;
  std::swap(result.largest_row_ratio, result.largest_column_ratio);
  std::swap(result.largest_row, result.largest_column);
  std::swap(result.row_limit, result.column_limit);
  return result;
}

DifferenceSquares& DifferenceSquares::operator+=(const DifferenceSquares& other) {
  if (rows.size() == 0) return *this = other;
  rows += other.rows;
  columns += other.columns;
  row_variances += other.row_variances;
  column_variances += other.column_variances;
  norm_a = std::hypot(norm_a, other.norm_a);
  norm_b = std::hypot(norm_b, other.norm_b);
  error += other.error;
  return *this;
}

void ComparisonSum::add(const DifferenceSquares& frequency) {
  sum_ += frequency;
  const double total = std::sqrt(frequency.rows.sum());
  const double alone = ratio(total, frequency.row_variances.sum());
  if (alone > largest_frequency_ratio_ || std::isnan(alone)) largest_frequency_ratio_ = alone;  // NaN stays
  // |cos A + sin B| <= sqrt(|A|^2 + |B|^2) at every distance; frequencies add up.
  at_most_ += total + frequency.error;
}

CircuitComparison ComparisonSum::result(Index inner_width, double unit) const {
  const double total = std::sqrt(sum_.rows.sum());
  const double variance = sum_.row_variances.sum();
  const double norm = std::max(sum_.norm_a, sum_.norm_b);
  CircuitComparison result;
  result.difference = std::ldexp(total, exponent_);
  result.difference_at_most = std::ldexp(at_most_ * (1 + tolerance<double>()), exponent_);
  result.norm = std::ldexp(norm, exponent_);
  result.norm_at_most = std::ldexp(norm + sum_.error, exponent_);
  result.ratio = ratio(total, variance);
  result.largest_frequency_ratio = largest_frequency_ratio_;
  result.largest_row_ratio = largest_ratio_of(sum_.rows.cwiseSqrt(), sum_.row_variances, result.largest_row);
  result.largest_column_ratio =
      largest_ratio_of(sum_.columns.cwiseSqrt(), sum_.column_variances, result.largest_column);
  result.noise = std::ldexp(std::sqrt(variance), exponent_);
  result.resolution = norm > 0 ? std::sqrt(variance) / norm : 0;
  result.limit = ratio_limit(inner_width, unit);
  return result;
}

double ratio(double difference, double variance) {
  if (difference == 0) return 0;
  if (!std::isfinite(variance)) return std::numeric_limits<double>::quiet_NaN();
  return variance > 0 ? difference / std::sqrt(variance) : std::numeric_limits<double>::infinity();
}

double largest_ratio_of(const RowVector<double>& differences, const RowVector<double>& variances,
                        Index& place) {
  double largest = 0;
  for (Index i = 0; i < differences.size(); ++i) {
    const double r = ratio(differences(i), variances(i));
    if (r <= largest || std::isnan(largest)) continue;
    largest = r;
    place = i;
  }
  return largest;
}

double ratio_limit(Index inner_width, double unit) { return 2 * arithmetic_allowance(inner_width, unit); }

double arithmetic_allowance(Index inner_width, double unit, Index own_width) {
  if (!(unit > 0)) return 1;
  const double arithmetic = 8 * std::min(unit, 0x1p-24) / unit;
  const double own = 8 * 0x1p-53 / unit;
  return std::sqrt(1 + static_cast<double>(inner_width) * arithmetic * arithmetic +
                   static_cast<double>(own_width) * own * own);
}

}  // namespace attnsym
