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

/// Eigenvectors polished by Jacobi rotations for float (computed in double) and double, divide and conquer
/// for matrices too deficient for that; Jacobi alone at 50 digits, for small matrices only. One place for it
/// because Eigen's SVD takes half a minute to compile.
template <RealScalar S>
Svd<S> thin_svd(const Matrix<S>& m);

/// The singular values alone, descending. Not by divide and conquer: without vectors Eigen 3.4 is wrong by
/// 1e-6 on a matrix of 16 ones and 16 zeros.
RowVector<double> singular_values(const Matrix<double>& m);

/// By divide and conquer, descending, to the precision of the largest and no better: for ranks of matrices
/// that are far too large for the others.
RowVector<double> rough_singular_values(const Matrix<double>& m);

/// All of them, n x n for a matrix of n columns, in the order of descending singular values.
Matrix<double> right_singular_vectors(const Matrix<double>& m);

}  // namespace attnsym
