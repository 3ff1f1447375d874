#pragma once

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <vector>

#include "symmetry/scalar.hpp"

/// Dimensions of spaces of commuting maps, as null spaces.
namespace attnsym::testing {

/// One matrix for every one of some group elements.
using Representation = std::vector<Matrix<double>>;

/// The rank of a matrix: counts squared singular values that stand out of the rounding of the squares.
inline Index rank(const Matrix<double>& m) {
  const Eigen::SelfAdjointEigenSolver<Matrix<double>> solver(m.transpose() * m, Eigen::EigenvaluesOnly);
  return (solver.eigenvalues().array() > 1e-11 * std::max(1.0, solver.eigenvalues().maxCoeff())).count();
}

/// dim { X : out(g) X = X in(g) for all g }.
inline Index intertwiners(const Representation& out, const Representation& in) {
  const Index m = out[0].rows();
  const Index n = in[0].rows();
  Matrix<double> equations(static_cast<Index>(out.size()) * m * n, m * n);
  Index row = 0;
  for (std::size_t g = 0; g < out.size(); ++g, row += m * n) {
    for (Index j = 0; j < n; ++j) {
      for (Index i = 0; i < m; ++i) {  // the unknown X(i, j)
        Matrix<double> left = Matrix<double>::Zero(m, n);
        left.col(j) = out[g].col(i);
        left.row(i) -= in[g].row(j);
        equations.col(j * m + i).segment(row, m * n) = left.reshaped();
      }
    }
  }
  return m * n - rank(equations);
}

}  // namespace attnsym::testing
