#pragma once

#include "verify/stored_scores.hpp"

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
  double largest_term_ratio = 0;  ///< of scores: the total of one term alone; else as `ratio`
  double largest_row_ratio = 0;
  double largest_column_ratio = 0;
  Index largest_row = 0;  ///< -1 for a slope or a sink
  Index largest_column = 0;
  double noise = 0;              ///< sqrt(variance): what rounding may have added
  double resolution = 0;         ///< noise / norm: the smallest relative difference that could be seen
  double offset_difference = 0;  ///< the largest difference of what scores add whatever the tokens
  double limit = 0;              ///< the ratio up to which rounding is the explanation, see ratio_limit

  double largest_ratio() const;

  /// The largest relative difference that would still pass as rounding: what agreement could hide.
  double hidden_difference() const { return resolution * limit / 2; }

  /// Whether the total, every term, every row and every column are within the limit. False on NaN.
  bool explained_by_rounding() const { return largest_ratio() <= limit; }
};

/// @throws ShapeError if the outer shapes differ
CircuitComparison compare(const StoredCircuit& a, const StoredCircuit& b);

/// The terms of two scores together: squares of norms, rows and columns are added up over the terms, so that
/// one rounded number weighs the same whatever the positions. Every term is judged alone, too: rounding of
/// large pairs of coordinates does not explain that a small one is wrong. difference_at_most bounds the
/// difference at every distance [N8]. Offsets count as rows of their own.
CircuitComparison compare(const StoredScores& a, const StoredScores& b);

/// Circuits that are differences already, left right^T, at 2^0, beside the stored circuits that they are
/// differences of.
struct StoredDifference {
  Circuit<double> difference;
  StoredCircuit a;
  StoredCircuit b;
};

/// Whether differences, added up as terms are, are within `limit` times the rounding of the two circuits in
/// total, every row and every column. Norms come from Gram matrices: a few digits are enough here, and
/// nothing cancels. False where the range of double is left.
bool explained_by_rounding(const std::vector<StoredDifference>& differences, double limit);

/// [N7] How far apart, in units of storage rounding, two files of one function may be: 2
/// arithmetic_allowance(n, u), n the inner width and u the unit roundoff of the coarser file.
double ratio_limit(Index inner_width, double unit);

/// [N7] sqrt(1 + n (8 u' / u)^2), u' = min(u, 2^-24): room for files whose gauges were drawn, inverted and
/// applied in float32 arithmetic (or, for finer storage, in the file's own precision). 1 for F16 and BF16.
/// Enough for gauges of condition up to 100 (measured); beyond that such a pair may come out undecided, but
/// not distinct.
double arithmetic_allowance(Index inner_width, double unit);

/// The unit roundoff u for which the radii are those of rounding the values, u |w|, on average; the coarser
/// of the two factors. 0 for the zero circuit.
double effective_unit(const StoredCircuit& circuit);
double effective_unit(const StoredScores& scores);

/// sqrt(variance) of one circuit: the Frobenius norm of what rounding may have added.
double rounding_noise(const StoredCircuit& circuit);

/// Agreement that could hide a larger relative difference than this proves too little [N7].
constexpr double coarsest_resolution = 0.05;

/// The largest effective unit of the module's tensors: how coarsely it is stored.
double storage_unit(const StoredAttention& module);

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
ConstantComparison compare_constants(const StoredAttention& a, const StoredAttention& b);

}  // namespace attnsym
