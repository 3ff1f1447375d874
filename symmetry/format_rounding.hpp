#pragma once

#include <algorithm>
#include <cmath>

namespace attnsym {

/// How far rounding to a binary format moves a number: by at most max(relative |w|, absolute).
struct Rounding {
  double relative = 0;  ///< unit roundoff
  double absolute = 0;  ///< half the spacing of the subnormal numbers

  /// [N7] The largest error that rounding to w can have left. What was smaller than half the smallest number
  /// of the format has become 0.
  double radius(double w) const { return std::max(relative * std::abs(w), absolute); }
};

}  // namespace attnsym
