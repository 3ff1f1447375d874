#pragma once

#include <optional>
#include <string>

#include "symmetry/head_class.hpp"
#include "verify/rounding.hpp"

namespace attnsym {

/// Puts together the heads whose scores agree within rounding with that of the first in their class. Modules
/// with different masks, softcaps or sinks have no score in common: their heads are kept apart, and equality
/// is left only if everything cancels [N3].
/// @pre equal widths; all biases present
HeadClasses classify_heads(const StoredAttention& a, const StoredAttention& b);

/// The reason why these are not classes of the heads of two modules - every head of both in exactly one,
/// heads with different masks, softcaps or sinks apart [N3], and where a norm is over all heads as many heads
/// of A as of B in each, as every head counts in it - or nothing.
std::optional<std::string> refute_partition(const StoredAttention& a, const StoredAttention& b,
                                            const HeadClasses& classes);

/// A class under scrutiny. The two functions agree iff every class is explained by rounding, and the
/// constants.
struct ClassComparison {
  HeadClass heads;
  CircuitComparison qk;  ///< the worst agreement of a member with the first one; blank for a single head
  CircuitComparison vo;  ///< the sums of the OV circuits of both sides
  double vo_scale = 0;   ///< the largest norm of one OV circuit in the class
  double vo_norms_at_most = 0;       ///< an upper bound of the sum of their norms
  double qk_difference_at_most = 0;  ///< an upper bound of the distance of any member to the first one

  bool explained_by_rounding() const { return qk.explained_by_rounding() && vo.explained_by_rounding(); }
  double largest_ratio() const;

  /// What agreement could hide, relative to the QK circuit and to the largest OV circuit.
  double hidden_difference() const;
};

ClassComparison compare_class(const StoredAttention& a, const StoredAttention& b, const HeadClass& heads);

}  // namespace attnsym
