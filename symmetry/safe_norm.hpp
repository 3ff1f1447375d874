#pragma once

#include <cmath>
#include <limits>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// The Frobenius norm without overflow or underflow of the squares; NaN if an entry is, infinite if one is.
/// (Eigen's stableNorm asserts on expressions whose columns are not aligned to EIGEN_MAX_ALIGN_BYTES.)
template <class M>
typename M::Scalar safe_norm(const Eigen::MatrixBase<M>& expression) {
  using S = typename M::Scalar;
  using std::sqrt;
  const auto& m = expression.derived().eval();
  if (m.size() == 0) return S(0);
  // In the middle of the range no square that counts is lost.
  const S small = S(sqrt(S(std::numeric_limits<S>::min())) / std::numeric_limits<S>::epsilon());
  const S plain = m.norm();
  if (plain > small && plain < S(1) / small) return plain;
  if (m.hasNaN()) return std::numeric_limits<S>::quiet_NaN();
  const S largest = m.cwiseAbs().maxCoeff();
  if (!(largest > 0) || !(largest <= std::numeric_limits<S>::max())) return largest;
  return S(largest * (m / largest).norm());
}

}  // namespace attnsym
