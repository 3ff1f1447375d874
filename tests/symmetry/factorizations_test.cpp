// The decompositions under the canonical form: against their definition, and against Eigen's own singular
// values.
#include <gtest/gtest.h>

#include <Eigen/SVD>
#include <cmath>
#include <string>
#include <vector>

#include "symmetry/cholesky_qr.hpp"
#include "symmetry/random.hpp"
#include "symmetry/safe_norm.hpp"
#include "symmetry/svd.hpp"
#include "symmetry/thin_qr.hpp"

namespace attnsym {
namespace {

constexpr Index largest_oracle = 64;  // Eigen's Jacobi SVD is slow beyond

struct Case {
  std::string name;
  Matrix<double> matrix;
};

Matrix<double> orthogonal(Index n, std::uint64_t seed) {
  return ThinQr<double>(fixed_probe<double>(n, n, seed)).times(Matrix<double>::Identity(n, n));
}

// U diag(sigma) V^T
template <class Sigma>
Matrix<double> with_sigma(Index n, Sigma sigma) {
  RowVector<double> values(n);
  for (Index k = 0; k < n; ++k) values(k) = sigma(k);
  return orthogonal(n, 1) * values.asDiagonal() * orthogonal(n, 2).transpose();
}

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const Index n : {1, 2, 3, 8, 31, 32, 64, 256}) {
    const std::string size = " of size " + std::to_string(n);
    const Matrix<double> plain = fixed_probe<double>(n, n, 3);
    list.push_back({"random" + size, plain});
    list.push_back({"tall" + size, fixed_probe<double>(n + 7, n, 4)});
    list.push_back({"wide" + size, fixed_probe<double>(n, n + 7, 5)});
    list.push_back({"graded" + size, with_sigma(n, [](Index k) { return std::pow(0.5, k); })});
    list.push_back({"orthogonal" + size, with_sigma(n, [](Index) { return 1; })});
    list.push_back({"clustered" + size, with_sigma(n, [](Index k) { return 1.0 / double(1 + k / 3); })});
    list.push_back({"nearly clustered" + size, with_sigma(n, [](Index k) { return 1 + 1e-13 * double(k); })});
    list.push_back({"half rank" + size, with_sigma(n, [n](Index k) { return 2 * k < n ? 1.0 : 0.0; })});
    list.push_back({"rank one" + size, plain.col(0) * plain.row(0)});
    list.push_back(
        {"diagonal with zeros" + size, Matrix<double>(RowVector<double>::LinSpaced(n, 0, 1).asDiagonal())});
    list.push_back({"zero" + size, Matrix<double>::Zero(n, n)});
    list.push_back({"huge" + size, 1e200 * plain});
    list.push_back({"tiny" + size, 1e-200 * plain});
  }
  return list;
}

double off_identity(const Matrix<double>& columns) {
  return (columns.transpose() * columns - Matrix<double>::Identity(columns.cols(), columns.cols())).norm();
}

TEST(ThinSvd, IsWhatItIsDefinedToBe) {
  for (const auto& [name, matrix] : cases()) {
    const Svd<double> svd = thin_svd(matrix);
    const double size = safe_norm(matrix);
    EXPECT_LE(off_identity(svd.u), 1e-12) << name;
    EXPECT_LE(off_identity(svd.v), 1e-12) << name;
    EXPECT_LE(safe_norm(svd.u * svd.sigma.asDiagonal() * svd.v.transpose() - matrix), 1e-13 * size) << name;
    if (matrix.rows() <= largest_oracle) {
      const Eigen::JacobiSVD<Matrix<double>> oracle(matrix);
      EXPECT_LE(safe_norm(svd.sigma - oracle.singularValues().transpose()), 1e-13 * size) << name;
    }
    EXPECT_EQ(singular_values(matrix), svd.sigma) << name;
    for (Index k = 1; k < svd.sigma.size(); ++k) EXPECT_GE(svd.sigma(k - 1), svd.sigma(k)) << name;
    EXPECT_GE(svd.sigma.minCoeff(), 0) << name;
  }
}

TEST(OrthonormalFactors, AreAThinQr) {
  for (const auto& [name, matrix] : cases()) {
    if (std::abs(std::log(safe_norm(matrix))) > 200) continue;  // reflections square the numbers too
    const OrthonormalFactors<double> factors = orthonormal_factors(matrix);
    const Matrix<double> basis = factors.columns * factors.correction;
    EXPECT_LE(off_identity(basis), 1e-12) << name;
    EXPECT_LE(safe_norm(basis * factors.triangle - matrix), 1e-13 * safe_norm(matrix)) << name;
    EXPECT_TRUE(factors.triangle.isUpperTriangular(0)) << name;
  }
}

// Either way is taken somewhere: the fast one for what weights look like, reflections for dependent columns.
TEST(CholeskyQr, IsAbsentWhereColumnsAreDependent) {
  Matrix<double> matrix = fixed_probe<double>(96, 8, 1);
  EXPECT_TRUE(cholesky_qr(matrix).has_value());
  for (const double distance : {0.0, 1e-15, 1e-12, 1e-9}) {
    matrix.col(3) = matrix.col(5) + distance * matrix.col(6);
    EXPECT_FALSE(cholesky_qr(matrix).has_value()) << distance;
  }
  matrix.col(3).setConstant(std::nan(""));
  EXPECT_FALSE(cholesky_qr(matrix).has_value());
  EXPECT_FALSE(cholesky_qr(fixed_probe<double>(3, 5, 1)).has_value());
}

}  // namespace
}  // namespace attnsym
