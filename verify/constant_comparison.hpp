#pragma once

namespace attnsym {

/// The constant c = bo + sum_i bv O_i of two modules: |difference| / sqrt(variance), and its limit.
struct ConstantComparison {
  double difference = 0;
  double difference_at_most = 0;  ///< an upper bound that the error of computing it cannot exceed
  double ratio = 0;
  double limit = 0;
  double noise = 0;  ///< sqrt(variance)
  /// The largest entry of the difference in units of all that rounding, at its worst, could make of it.
  double largest_entry_ratio = 0;

  /// The largest difference that would still pass as rounding.
  double hidden_difference() const { return noise * limit / 2; }

  /// Whether the total is within the limit, and every entry within its worst case times the allowance for
  /// arithmetic. False on NaN.
  bool explained_by_rounding() const { return ratio <= limit && largest_entry_ratio <= limit / 2; }
};

}  // namespace attnsym
