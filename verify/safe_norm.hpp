#pragma once

#include <limits>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// The Frobenius norm without overflow or underflow of the squares; NaN if an entry is. (Eigen's stableNorm
/// asserts on columns that are not aligned to EIGEN_MAX_ALIGN_BYTES.)
template <class M>
double safe_norm(const Eigen::MatrixBase<M>& m) {
  if (m.size() == 0) return 0;
  if (m.hasNaN()) return std::numeric_limits<double>::quiet_NaN();
  const double largest = m.cwiseAbs().maxCoeff();
  if (!(largest > 0) || !(largest <= std::numeric_limits<double>::max())) return largest;
  return largest * (m / largest).norm();
}

}  // namespace attnsym
