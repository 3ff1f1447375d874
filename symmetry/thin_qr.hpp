#pragma once

#include <Eigen/QR>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// m = Z T with orthonormal columns in Z, kept as reflectors, and p = min(rows, cols) rows in the upper
/// triangle T. One place for it because Eigen's QR is slow to compile for Boost's scalars.
template <RealScalar S>
class ThinQr {
 public:
  explicit ThinQr(const Matrix<S>& m);

  /// T, p x cols.
  Matrix<S> triangle() const;

  /// Z * core, for a core of p rows.
  Matrix<S> times(const Matrix<S>& core) const;

 private:
  Eigen::HouseholderQR<Matrix<S>> qr_;
  Index size_;
};

extern template class ThinQr<float>;
extern template class ThinQr<double>;
extern template class ThinQr<Float50>;

}  // namespace attnsym
