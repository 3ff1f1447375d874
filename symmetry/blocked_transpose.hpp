#pragma once

#include <algorithm>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// m^T, in blocks that stay in the cache: column by column, as Eigen does it, numbers of a large matrix miss
/// it.
inline Matrix<double> blocked_transpose(const Matrix<double>& m) {
  constexpr Index size = 32;
  Matrix<double> result(m.cols(), m.rows());
  for (Index j = 0; j < m.cols(); j += size) {
    for (Index i = 0; i < m.rows(); i += size) {
      const Index rows = std::min(size, m.rows() - i);
      const Index columns = std::min(size, m.cols() - j);
      result.block(j, i, columns, rows) = m.block(i, j, rows, columns).transpose();
    }
  }
  return result;
}

}  // namespace attnsym
