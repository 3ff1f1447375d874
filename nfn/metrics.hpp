#pragma once

#include <span>

namespace attnsym {

/// Kendall's tau-b: (concordant - discordant pairs) / sqrt((pairs not tied in a) (pairs not tied in b)), the
/// variant that ties in both lists leave between -1 and 1. In O(n log n) (Knight 1966). NaN if all of a or
/// all of b are equal, as there is no order then, or if an entry is NaN.
/// @throws ShapeError on different lengths.
double kendall_tau(std::span<const double> a, std::span<const double> b);

/// The coefficient of determination: 1 - sum (label - prediction)^2 / sum (label - mean label)^2. NaN if all
/// labels are equal.
/// @throws ShapeError on different lengths.
double r_squared(std::span<const double> labels, std::span<const double> predictions);

}  // namespace attnsym
