#pragma once

#include "symmetry/scalar.hpp"

namespace attnsym {

/// The variance of an error spread evenly over +- radius [N7].
inline Matrix<double> variance_of(const Matrix<double>& radius) { return radius.cwiseAbs2() / 3; }

/// The unit roundoff for which radii of this norm are those of rounding values of that norm; 0 for no values.
inline double stored_unit(double value_norm, double radius_norm) {
  return value_norm > 0 ? radius_norm / value_norm : 0;
}

}  // namespace attnsym
