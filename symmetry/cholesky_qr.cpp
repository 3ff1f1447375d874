#include "symmetry/cholesky_qr.hpp"

#include <Eigen/Cholesky>
#include <algorithm>

#include "symmetry/matrix_products.hpp"
#include "symmetry/thin_qr.hpp"

namespace attnsym {
namespace {

// After the first round the columns' inner products are the identity up to condition^2 * roundoff. Up to this
// the second round is accurate to roundoff.
constexpr double nearly_orthonormal = 0.01;

template <RealScalar S>
Matrix<S> inner_products(const Matrix<S>& m) {
  return multiply_tn(m, m);
}

}  // namespace

template <RealScalar S>
std::optional<OrthonormalFactors<S>> cholesky_qr(const Matrix<S>& m) {
  if (m.rows() < m.cols()) return std::nullopt;
  const Eigen::LLT<Matrix<S>> first(inner_products(m));
  if (first.info() != Eigen::Success) return std::nullopt;
  OrthonormalFactors<S> factors{m, Matrix<S>::Identity(m.cols(), m.cols()), first.matrixU()};
  first.matrixU().template solveInPlace<Eigen::OnTheRight>(factors.columns);

  const Matrix<S> products = inner_products(factors.columns);
  const S error = (products - factors.correction).norm();
  if (!(error <= S(nearly_orthonormal))) return std::nullopt;  // NaN is no either
  const Eigen::LLT<Matrix<S>> second(products);
  second.matrixU().solveInPlace(factors.correction);
  factors.triangle = second.matrixU() * factors.triangle;
  return factors;
}

template <RealScalar S>
OrthonormalFactors<S> orthonormal_factors(const Matrix<S>& m) {
  if (std::optional<OrthonormalFactors<S>> fast = cholesky_qr(m)) return *std::move(fast);
  const ThinQr<S> qr(m);
  const Index size = std::min(m.rows(), m.cols());
  const Matrix<S> identity = Matrix<S>::Identity(size, size);
  return {qr.times(identity), identity, qr.triangle()};
}

template std::optional<OrthonormalFactors<float>> cholesky_qr(const Matrix<float>&);
template std::optional<OrthonormalFactors<double>> cholesky_qr(const Matrix<double>&);
template std::optional<OrthonormalFactors<Float50>> cholesky_qr(const Matrix<Float50>&);

template OrthonormalFactors<float> orthonormal_factors(const Matrix<float>&);
template OrthonormalFactors<double> orthonormal_factors(const Matrix<double>&);
template OrthonormalFactors<Float50> orthonormal_factors(const Matrix<Float50>&);

}  // namespace attnsym
