#pragma once

#include <concepts>

#include "symmetry/gauge_blocks.hpp"

namespace attnsym {

/// What computes with the complex blocks of rotary positions.
using ComplexMatrix = Eigen::MatrixXcd;

/// The columns of a block: rows x n, real, or complex for a complex block.
template <class M>
M columns_of(const Matrix<double>& matrix, const GaugeBlock& block) {
  Matrix<double> columns = block_columns(matrix, block);
  if constexpr (std::same_as<M, ComplexMatrix>) {
    ComplexMatrix result(matrix.rows(), block.size());
    result.real() = columns.leftCols(block.size());
    result.imag() = columns.rightCols(block.size());
    return result;
  } else {
    return columns;
  }
}

/// The n x n matrix of a block in a gauge of the whole width, the inverse of set_block.
template <class M>
M matrix_of(const Matrix<double>& gauge, const GaugeBlock& block) {
  M result(block.size(), block.size());
  for (Index k = 0; k < block.size(); ++k) {
    for (Index l = 0; l < block.size(); ++l) {
      const double real = gauge(block.real[k], block.real[l]);
      if constexpr (std::same_as<M, ComplexMatrix>) {
        result(k, l) = {real, block.orientation[k] * gauge(block.imaginary[k], block.real[l])};
      } else {
        result(k, l) = real;
      }
    }
  }
  return result;
}

}  // namespace attnsym
