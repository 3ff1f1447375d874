#include "symmetry/balance.hpp"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <limits>

#include "symmetry/cholesky_qr.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/safe_norm.hpp"
#include "symmetry/sign_rule.hpp"
#include "symmetry/svd.hpp"

namespace attnsym {
namespace {

// Inner products are good enough where they lose less than this part of what counts as equal anyway.
constexpr double share_of_coincidence = 128;

// How many of the descending singular values are not zero within the noise [N6].
template <RealScalar S>
Index rank_of(const RowVector<S>& sigma, Index width, const S& coincidence, const S& noise) {
  using std::sqrt;
  if (safe_norm(sigma) <= noise) return 0;
  const S floor = std::max(S(coincidence * sigma(0)), S(noise / sqrt(S(width))));
  Index rank = 0;
  while (rank < sigma.size() && sigma(rank) > floor) ++rank;
  return rank;
}

// How far columns made orthonormal by the triangle of their inner products, T^T T = m^T m, may be from it:
// the products are known up to (rows + n + 1) eps |m|^2, and T^-1 from both sides amplifies that [N6].
template <RealScalar S>
S orthonormality_error(const Matrix<S>& triangle, Index rows) {
  const Index n = triangle.cols();
  const Matrix<S> inverse = triangle.template triangularView<Eigen::Upper>().solve(Matrix<S>::Identity(n, n));
  return S(rows + n + 1) * std::numeric_limits<S>::epsilon() * triangle.squaredNorm() * inverse.squaredNorm();
}

// The upper triangle T with T^T T = products, where that is as accurate as `limit`.
template <RealScalar S>
std::optional<Matrix<S>> triangle_of(const Matrix<S>& products, Index rows, const S& limit) {
  const Eigen::LLT<Matrix<S>> cholesky(products);
  if (cholesky.info() != Eigen::Success) return std::nullopt;
  Matrix<S> triangle = cholesky.matrixU();
  if (!(orthonormality_error(triangle, rows) <= limit)) return std::nullopt;  // NaN is no either
  return triangle;
}

// L^T = R1^T U sigma^-1/2 and L^-1 = R2^T V sigma^-1/2 with what fixes signs, for triangles R1 and R2:
// inverse to each other without inverting a triangle [N6].
template <RealScalar S>
GeneralLinear<S> gauge_of(const Matrix<S>& left_triangle, const Matrix<S>& right_triangle, const Svd<S>& svd,
                          const Matrix<S>& scaling) {
  const Matrix<S> transposed = multiply(multiply_tn(left_triangle, svd.u), scaling);
  return GeneralLinear<S>::from_matrix_and_inverse(transposed.transpose(),
                                                   multiply(multiply_tn(right_triangle, svd.v), scaling));
}

}  // namespace

template <RealScalar S>
Balanced<S> balance(const Matrix<S>& left, const Matrix<S>& right, S coincidence, S noise, Probe probe,
                    std::optional<Index> probed_rows) {
  using std::sqrt;
  const Index width = right.cols();
  const OrthonormalFactors<S> left_qr = orthonormal_factors(left);
  const OrthonormalFactors<S> right_qr = orthonormal_factors(right);
  const Svd<S> svd = thin_svd<S>(multiply_nt(left_qr.triangle, right_qr.triangle));

  Balanced<S> result;
  Index rank = rank_of(svd.sigma, width, coincidence, noise);
  if (probe == Probe::Embedded) rank += rank % 2;  // singular values come in pairs
  result.rank = rank;
  result.sigma = RowVector<S>::Zero(width);
  result.sigma.head(rank) = svd.sigma.head(rank);
  const RowVector<S> root = svd.sigma.head(rank).unaryExpr([](const S& s) { return S(sqrt(s)); });
  const Matrix<S> left_core = multiply(left_qr.correction, svd.u.leftCols(rank)) * root.asDiagonal();
  const Matrix<S> right_core = multiply(right_qr.correction, svd.v.leftCols(rank)) * root.asDiagonal();
  const Fixing<S> fixing =
      fix_columns<S>(svd.sigma, right_qr.columns, right_core, root, coincidence, probe, probed_rows);
  result.sign_margin = fixing.margin;
  result.left = Matrix<S>::Zero(left.rows(), width);
  result.right = Matrix<S>::Zero(right.rows(), width);
  add_product(result.left.leftCols(rank), left_qr.columns, multiply(left_core, fixing.rotation));
  add_product(result.right.leftCols(rank), right_qr.columns, multiply(right_core, fixing.rotation));
  if (rank == width) {
    result.linear = gauge_of<S>(left_qr.triangle, right_qr.triangle, svd,
                                root.cwiseInverse().asDiagonal() * fixing.rotation);
  }
  return result;
}

template <RealScalar S>
std::optional<Balanced<S>> balance_by_products(const Matrix<S>& left_products, Index left_rows,
                                               const Matrix<S>& right, S coincidence, S noise) {
  const S limit = coincidence / S(share_of_coincidence);
  const auto left_triangle = triangle_of<S>(left_products, left_rows, limit);
  if (!left_triangle) return std::nullopt;
  const auto right_triangle = triangle_of<S>(multiply_tn(right, right), right.rows(), limit);
  if (!right_triangle) return std::nullopt;
  const Svd<S> svd = thin_svd<S>(multiply_nt(*left_triangle, *right_triangle));
  const Index width = right.cols();

  Balanced<S> result;
  result.rank = rank_of(svd.sigma, width, coincidence, noise);
  if (result.rank < width) return std::nullopt;
  result.sigma = svd.sigma;
  const RowVector<S> root = svd.sigma.cwiseSqrt();
  const Matrix<S> right_core = multiply_tn(*left_triangle, svd.u) * root.cwiseInverse().asDiagonal();
  const Fixing<S> fixing = fix_columns<S>(svd.sigma, right, right_core, root, coincidence, Probe::Plain, {});
  result.sign_margin = fixing.margin;
  result.linear =
      gauge_of<S>(*left_triangle, *right_triangle, svd, root.cwiseInverse().asDiagonal() * fixing.rotation);
  return result;
}

template std::optional<Balanced<float>> balance_by_products(const Matrix<float>&, Index, const Matrix<float>&,
                                                            float, float);
template std::optional<Balanced<double>> balance_by_products(const Matrix<double>&, Index,
                                                             const Matrix<double>&, double, double);
template std::optional<Balanced<Float50>> balance_by_products(const Matrix<Float50>&, Index,
                                                              const Matrix<Float50>&, Float50, Float50);

template Balanced<float> balance(const Matrix<float>&, const Matrix<float>&, float, float, Probe,
                                 std::optional<Index>);
template Balanced<double> balance(const Matrix<double>&, const Matrix<double>&, double, double, Probe,
                                  std::optional<Index>);
template Balanced<Float50> balance(const Matrix<Float50>&, const Matrix<Float50>&, Float50, Float50, Probe,
                                   std::optional<Index>);

}  // namespace attnsym
