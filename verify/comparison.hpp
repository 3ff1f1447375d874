#pragma once

#include "symmetry/scalar.hpp"

namespace attnsym {

/// How the difference of two stored circuits compares with what rounding them explains [N7]. A ratio is
/// |difference| / sqrt(variance): about 0.75 when nothing but rounding happened, large for a real difference;
/// 0 for no difference, infinite for a difference between exactly stored numbers.
struct CircuitComparison {
  double difference = 0;          ///< Frobenius norm of a - b
  double difference_at_most = 0;  ///< an upper bound of it that the error of computing it cannot exceed [N4]
  double norm = 0;                ///< the larger Frobenius norm
  double norm_at_most = 0;        ///< likewise
  double ratio = 0;
  double largest_frequency_ratio = 0;  ///< of scores: the total of one frequency alone; else as `ratio`
  double largest_row_ratio = 0;
  double largest_column_ratio = 0;
  Index largest_row = 0;  ///< -1 for a slope, a sink or a table
  Index largest_column = 0;
  double noise = 0;              ///< sqrt(variance): what rounding may have added
  double resolution = 0;         ///< noise / norm: the smallest relative difference that could be seen; of
                                 ///< scores also of what they add, in logits
  double offset_difference = 0;  ///< the largest difference of what scores add whatever the tokens
  double limit = 0;              ///< the ratio up to which rounding is the explanation, see ratio_limit
  double row_limit = 0;     ///< that of rows, whose errors may be few, see chance_limit; at least `limit`
  double column_limit = 0;  ///< likewise

  double largest_ratio() const;

  /// The largest relative difference that would still pass as rounding: what agreement could hide.
  double hidden_difference() const { return resolution * limit / 2; }

  /// The same of the transposed circuits.
  CircuitComparison transposed() const;

  /// Whether the total, every frequency, every row and every column are within their limits. False on NaN.
  bool explained_by_rounding() const;
};

/// The difference of two circuits as squares, by row and by column of the circuit, beside the variances that
/// rounding gives them; or, added up, that of a cosine and a sine of one frequency. Units of 4^e, with one e
/// for all that is compared together.
struct DifferenceSquares {
  RowVector<double> rows;
  RowVector<double> columns;
  RowVector<double> row_variances;
  RowVector<double> column_variances;
  double norm_a = 0;  ///< Frobenius, 2^e
  double norm_b = 0;
  double error = 0;  ///< of the Frobenius norm of the difference, from computing it, 2^e

  DifferenceSquares& operator+=(const DifferenceSquares& other);
};

/// Adds up the frequencies of a score, or takes the one difference of OV circuits.
class ComparisonSum {
 public:
  /// @param exponent  e
  explicit ComparisonSum(int exponent) : exponent_(exponent) {}

  void add(const DifferenceSquares& frequency);

  /// @param inner_width, unit  see ratio_limit
  CircuitComparison result(Index inner_width, double unit) const;

 private:
  int exponent_;
  DifferenceSquares sum_;
  double largest_frequency_ratio_ = 0;
  double at_most_ = 0;
};

/// difference / sqrt(variance): 0 for no difference, infinite where nothing explains one, NaN for an infinite
/// variance, since an overflow explains nothing.
double ratio(double difference, double variance);

/// The largest ratio and its place; NaN stays.
double largest_ratio_of(const RowVector<double>& differences, const RowVector<double>& variances,
                        Index& place);

/// [N7] How far apart, in units of storage rounding, two files of one function may be: 2
/// arithmetic_allowance(n, u), n the inner width and u the unit roundoff of the coarser file.
double ratio_limit(Index inner_width, double unit);

/// [N7] sqrt(1 + n (8 u' / u)^2), u' = min(u, 2^-24): room for files whose gauges were drawn, inverted and
/// applied in float32 arithmetic (or, for finer storage, in the file's own precision). 1 for F16 and BF16.
/// Enough for gauges of condition up to 100 (measured); beyond that such a pair may come out undecided, but
/// not distinct.
/// @param own_width  how many numbers this program itself adds up for each, in double; counts where files are
/// as fine
double arithmetic_allowance(Index inner_width, double unit, Index own_width = 0);

/// Agreement that could hide a larger relative difference than this proves too little [N7].
constexpr double coarsest_resolution = 0.05;

}  // namespace attnsym
