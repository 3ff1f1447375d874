#pragma once

#include <algorithm>
#include <cmath>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// Of a positive matrix, by power iteration, nearly.
template <class M>
double largest_eigenvalue(const M& matrix) {
  if (matrix.size() == 0) return 0;
  Index start = 0;
  matrix.colwise().squaredNorm().maxCoeff(&start);
  Eigen::Matrix<typename M::Scalar, Eigen::Dynamic, 1> vector = matrix.col(start);
  constexpr int steps = 8;
  double stretch = 0;
  for (int step = 0; step < steps && vector.norm() > 0; ++step) {
    vector.normalize();
    vector = matrix * vector;
    stretch = vector.norm();
  }
  return stretch;
}

/// [N7] Over how many independent errors the square of a circuit's row spreads. Row a of L R^T has the error
/// F_a R^T, with independent F_ak of variance v_k: its square is a sum of squares weighted by the eigenvalues
/// of diag(v)^(1/2) R^T R diag(v)^(1/2). Few of them count where R has few large directions. (The other
/// errors, L_a H^T, spread over all columns.) Blocks of coordinates that do not mix add up.
class ErrorSpread {
 public:
  /// @param gram  R^* R of one block; complex coordinates are two errors each
  /// @param variances  v, of the columns of L, up to a factor that all blocks have in common
  template <class M>
  void add(const M& gram, const RowVector<double>& variances) {
    const RowVector<double> roots = variances.cwiseSqrt();
    const M weighted = roots.asDiagonal() * gram * roots.asDiagonal();
    constexpr double errors = Eigen::NumTraits<typename M::Scalar>::IsComplex ? 2 : 1;
    trace_ += errors * weighted.diagonal().real().sum();
    squares_ += errors * weighted.squaredNorm();
    largest_ = std::max(largest_, largest_eigenvalue<M>(weighted));
  }

  /// See chance_limit.
  double share_squares() const { return trace_ > 0 ? std::min(1.0, squares_ / (trace_ * trace_)) : 0; }
  /// The largest eigenvalue of a block.
  double largest() const { return largest_; }

  double largest_share() const { return trace_ > 0 ? std::min(1.0, largest_ / trace_) : 0; }

 private:
  double trace_ = 0;
  double squares_ = 0;
  double largest_ = 0;
};

/// The worse of two.
inline double share_squares(const ErrorSpread& x, const ErrorSpread& y) {
  return std::max(x.share_squares(), y.share_squares());
}
inline double largest_share(const ErrorSpread& x, const ErrorSpread& y) {
  return std::max(x.largest_share(), y.largest_share());
}

}  // namespace attnsym
