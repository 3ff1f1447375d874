#include "symmetry/svd.hpp"

#include <Eigen/Eigenvalues>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "symmetry/matrix_products.hpp"

namespace attnsym {
namespace {

constexpr unsigned thin = Eigen::ComputeThinU | Eigen::ComputeThinV;
constexpr int most_sweeps = 30;

template <class Decomposition, RealScalar S>
Svd<S> result_of(const Decomposition& svd) {
  return {svd.matrixU(), svd.singularValues().transpose(), svd.matrixV()};
}

// One-sided Jacobi: turns pairs of columns of w, and with them those of u, until the columns of w are
// orthogonal to working precision relative to their own lengths, however different these are.
// @return false if that does not come to an end
bool orthogonalize(Matrix<double>& w, Matrix<double>& u) {
  constexpr double tiny_cosine = 4 * std::numeric_limits<double>::epsilon();
  RowVector<double> squares = w.colwise().squaredNorm();
  for (int sweep = 0; sweep < most_sweeps; ++sweep) {
    bool turned = false;
    for (Index j = 1; j < w.cols(); ++j) {
      for (Index i = 0; i < j; ++i) {
        const double product = w.col(i).dot(w.col(j));
        if (std::abs(product) <= tiny_cosine * std::sqrt(squares(i) * squares(j))) continue;
        Eigen::JacobiRotation<double> rotation;
        rotation.makeJacobi(squares(i), product, squares(j));
        w.applyOnTheRight(i, j, rotation);
        u.applyOnTheRight(i, j, rotation);
        squares(i) = w.col(i).squaredNorm();
        squares(j) = w.col(j).squaredNorm();
        turned = true;
      }
    }
    if (!turned) return true;
  }
  return false;
}

// The permutation that sorts lengths, longest first.
std::vector<Index> descending(const RowVector<double>& lengths) {
  std::vector<Index> order(static_cast<std::size_t>(lengths.size()));
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return lengths(a) > lengths(b); });
  return order;
}

// The SVD of a matrix with rows <= cols. Eigenvectors u of m m^T are a third of the work of a direct SVD, but
// lose the small singular values among the rounding of the large ones: the columns of m^T u are orthogonal
// only relative to the largest. A few Jacobi sweeps make them orthogonal relative to their own lengths, as in
// Drmac and Veselic, New fast and accurate Jacobi SVD algorithm (2008).
// @return nothing where that cannot work: a column vanishes, or the numbers are not finite
std::optional<Svd<double>> svd_by_eigenvectors(const Matrix<double>& m) {
  constexpr double vanishing = 1e-100;  // relative; its square is still far from underflow
  const double largest = m.size() > 0 ? m.cwiseAbs().maxCoeff() : 0;
  if (!(largest > 0) || !std::isfinite(largest)) return std::nullopt;
  const double scale =
      std::ldexp(1.0, std::ilogb(largest));  // exact, and squares neither over- nor underflow
  const Matrix<double> transposed = (m / scale).transpose();
  const Eigen::SelfAdjointEigenSolver<Matrix<double>> eigen(multiply_tn(transposed, transposed));
  if (eigen.info() != Eigen::Success) return std::nullopt;
  Matrix<double> u = eigen.eigenvectors().rowwise().reverse();
  Matrix<double> w = multiply(transposed, u);
  if (!orthogonalize(w, u)) return std::nullopt;

  const RowVector<double> lengths = w.colwise().norm();
  if (!(lengths.minCoeff() > vanishing)) return std::nullopt;
  const std::vector<Index> order = descending(lengths);
  const RowVector<double> sigma = lengths(order);
  return Svd<double>{u(Eigen::all, order), sigma * scale,
                     w(Eigen::all, order) * sigma.cwiseInverse().asDiagonal()};
}

}  // namespace

template <>
Svd<double> thin_svd(const Matrix<double>& m) {
  const bool wide = m.rows() <= m.cols();
  std::optional<Svd<double>> fast = svd_by_eigenvectors(wide ? m : m.transpose());
  if (!fast) return result_of<Eigen::BDCSVD<Matrix<double>>, double>(Eigen::BDCSVD<Matrix<double>>(m, thin));
  if (!wide) std::swap(fast->u, fast->v);
  return *std::move(fast);
}

template <>
Svd<float> thin_svd(const Matrix<float>& m) {
  const Svd<double> svd = thin_svd<double>(m.cast<double>());
  return {svd.u.cast<float>(), svd.sigma.cast<float>(), svd.v.cast<float>()};
}

template <>
Svd<Float50> thin_svd(const Matrix<Float50>& m) {
  return result_of<Eigen::JacobiSVD<Matrix<Float50>>, Float50>(Eigen::JacobiSVD<Matrix<Float50>>(m, thin));
}

RowVector<double> singular_values(const Matrix<double>& m) { return thin_svd(m).sigma; }

RowVector<double> rough_singular_values(const Matrix<double>& m) {
  return Eigen::BDCSVD<Matrix<double>>(m).singularValues().transpose();
}

Matrix<double> right_singular_vectors(const Matrix<double>& m) {
  return Eigen::BDCSVD<Matrix<double>>(m, Eigen::ComputeFullV).matrixV();
}

}  // namespace attnsym
