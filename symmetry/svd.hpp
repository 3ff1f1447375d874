#pragma once

#include "symmetry/scalar.hpp"

namespace attnsym {

/// m = u diag(sigma) v^T, sigma descending, p = min(rows, cols) columns.
template <RealScalar S>
struct Svd {
  Matrix<S> u;         ///< rows x p
  RowVector<S> sigma;  ///< p
  Matrix<S> v;         ///< cols x p
};

/// Divide and conquer for float (computed in double) and double; Jacobi at 50 digits, for small matrices
/// only. One place for it because Eigen's SVD takes half a minute to compile.
template <RealScalar S>
Svd<S> thin_svd(const Matrix<S>& m);

/// The singular values alone, descending.
RowVector<double> singular_values(const Matrix<double>& m);

}  // namespace attnsym
