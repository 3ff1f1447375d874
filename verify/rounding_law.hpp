#pragma once

#include "symmetry/attention_config.hpp"

namespace attnsym {

/// [N7] How far the ratio of a row, a column or a matrix may rise above its mean by chance. Sums of squares
/// of n independent errors spread by about n^(-1/2), more where a few errors have most of the variance.

/// x: the chance that rounding alone makes an answer exceed some limit is below 1/1000 if a single line
/// exceeds its own with a chance below e^-x.
/// @param lines  rows, columns and matrices that are judged for one answer
double surprise_of(double lines);

/// Rows and columns of all circuits of a module, times as many modules as large models have.
double judged_lines(const AttentionConfig& config);

/// The variances of the errors of one line: their sum, the sum of their squares, and the largest.
struct LineVariances {
  double sum = 0;
  double squares = 0;
  double largest = 0;
};

/// The root of the mean square of a ratio when nothing but rounding happened, 0.7355 [N7], with some room for
/// lines whose mantissas are small.
constexpr double typical_ratio = 0.8;

/// The ratio that a line of independent errors exceeds with a chance below e^-x, and not less than 2:
/// typical_ratio times the root of 1 + 2 (x s2)^(1/2) + 2 x s, with s2 the sum of squares and s the largest
/// of the shares of the variance. Source: B. Laurent, P. Massart, Ann. Statist. 28 (2000), Lemma 1; errors
/// that are uniform spread less.
/// @param sources  how many stored numbers each error comes from: each adds at most 3^(1/2) of its standard
/// deviations, so no ratio exceeds (3 sources)^(1/2). 0 if that is not known
double chance_limit(const LineVariances& line, double surprise, int sources);

/// The same of a sum of squares whose weights have a known spread.
/// @param share_squares, largest_share  s2 and s
double chance_limit(double share_squares, double largest_share, double surprise, int sources);

/// The same with room for arithmetic: a limit 2 becomes 2 a, a being the allowance; what chance adds to 2 is
/// of rounding alone, and adds up with the rest in square.
double limit_with_arithmetic(double chance, double allowance);

/// The largest singular value that independent errors leave in a matrix, with a chance above 1 - e^-x: the
/// largest norm of a row's standard deviations, that of a column's, and what the largest single error adds.
/// Source: A. Bandeira, R. van Handel, Ann. Probab. 44 (2016), Corollary 3.12.
double singular_value_limit(double row_norm, double column_norm, double largest, double surprise);

}  // namespace attnsym
