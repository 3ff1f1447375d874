#include "verify/models/stored_algebra.hpp"
#include "symmetry/matrix_products.hpp"

namespace attnsym {
namespace {

// The errors of entries less their column's mean: the entry's own share, and those of all others.
Matrix<double> centred_radii(const Matrix<double>& radius) {
  const auto count = static_cast<double>(radius.rows());
  const Matrix<double> squares = radius.cwiseAbs2();
  const RowVector<double> of_mean = squares.colwise().sum() / (count * count);
  return (((1 - 2 / count) * squares).rowwise() + of_mean).cwiseMax(0.0).cwiseSqrt();
}

}  // namespace

// Column by column, as the numbers lie in memory.
StoredMatrix scaled_rows(const StoredMatrix& gain, StoredMatrix weight) {
  const Eigen::ArrayXd factors = gain.value.row(0).transpose();
  const Eigen::ArrayXd squares = factors.square();
  const Eigen::ArrayXd error_squares = gain.radius.row(0).transpose().array().square();
  for (Index k = 0; k < weight.value.cols(); ++k) {
    auto value = weight.value.col(k).array();
    auto radius = weight.radius.col(k).array();
    radius = (squares * radius.square() + error_squares * value.square()).sqrt();
    value *= factors;
  }
  return weight;
}

StoredMatrix scaled_columns(const StoredMatrix& gain, StoredMatrix rows) {
  for (Index k = 0; k < rows.value.cols(); ++k) {
    const double g = gain.value(0, k);
    const double r = gain.radius(0, k);
    rows.radius.col(k) =
        (g * g * rows.radius.col(k).array().square() + r * r * rows.value.col(k).array().square()).sqrt();
    rows.value.col(k) *= g;
  }
  return rows;
}

StoredMatrix product(const StoredMatrix& a, const StoredMatrix& b) {
  StoredMatrix result{multiply(a.value, b.value), {}};
  result.radius = (multiply(a.value.cwiseAbs2(), b.radius.cwiseAbs2()) +
                   multiply(a.radius.cwiseAbs2(), b.value.cwiseAbs2()))
                      .cwiseSqrt();
  return result;
}

StoredMatrix sum(StoredMatrix a, const StoredMatrix& b) {
  if (a.value.size() == 0) return b;
  if (b.value.size() == 0) return a;
  return {a.value + b.value, (a.radius.cwiseAbs2() + b.radius.cwiseAbs2()).cwiseSqrt()};
}

StoredMatrix centred_columns(StoredMatrix matrix) {
  if (matrix.value.size() == 0) return matrix;
  matrix.value.rowwise() -= matrix.value.colwise().mean().eval();
  matrix.radius = centred_radii(matrix.radius);
  return matrix;
}

// As centred_radii of the transposed, column by column.
StoredMatrix centred_rows(StoredMatrix matrix) {
  if (matrix.value.size() == 0) return matrix;
  matrix.value.colwise() -= matrix.value.rowwise().mean().eval();
  const auto count = static_cast<double>(matrix.radius.cols());
  Eigen::ArrayXd of_mean = Eigen::ArrayXd::Zero(matrix.radius.rows());
  for (Index k = 0; k < matrix.radius.cols(); ++k) of_mean += matrix.radius.col(k).array().square();
  of_mean /= count * count;
  for (Index k = 0; k < matrix.radius.cols(); ++k) {
    auto radius = matrix.radius.col(k).array();
    radius = ((1 - 2 / count) * radius.square() + of_mean).max(0.0).sqrt();
  }
  return matrix;
}

StoredMatrix scaled(StoredMatrix matrix, double factor) {
  matrix.value *= factor;
  matrix.radius *= std::abs(factor);
  return matrix;
}

}  // namespace attnsym
