#include "symmetry/thin_qr.hpp"

#include <algorithm>

namespace attnsym {

template <RealScalar S>
ThinQr<S>::ThinQr(const Matrix<S>& m) : qr_(m), size_(std::min(m.rows(), m.cols())) {}

template <RealScalar S>
Matrix<S> ThinQr<S>::triangle() const {
  return qr_.matrixQR().topRows(size_).template triangularView<Eigen::Upper>();
}

template <RealScalar S>
Matrix<S> ThinQr<S>::times(const Matrix<S>& core) const {
  Matrix<S> padded = Matrix<S>::Zero(qr_.rows(), core.cols());
  if (core.cols() == 0) return padded;  // Eigen would do arithmetic on its null pointer
  padded.topRows(size_) = core;
  padded.applyOnTheLeft(qr_.householderQ());
  return padded;
}

template class ThinQr<float>;
template class ThinQr<double>;
template class ThinQr<Float50>;

}  // namespace attnsym
