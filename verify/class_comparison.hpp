#pragma once

#include <algorithm>

#include "symmetry/head_class.hpp"
#include "verify/comparison.hpp"

namespace attnsym {

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
  double largest_ratio() const { return std::max(qk.largest_ratio(), vo.largest_ratio()); }

  /// What agreement could hide, relative to the QK circuit and to the largest OV circuit: sums may be zero
  /// where their members are not.
  double hidden_difference() const {
    return std::max(qk.hidden_difference(), vo_scale > 0 ? vo.noise * vo.limit / 2 / vo_scale : 0);
  }
};

}  // namespace attnsym
