#include "symmetry/balance.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "symmetry/cholesky_qr.hpp"
#include "symmetry/random.hpp"
#include "symmetry/safe_norm.hpp"
#include "symmetry/svd.hpp"
#include "symmetry/thin_qr.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t sign_probe_salt = 0x51676e;

// Where the cluster that begins at `begin` ends: the next gap wider than coincidence * sigma_1.
template <RealScalar S>
Index cluster_end(const RowVector<S>& sigma, Index begin, Index rank, S coincidence) {
  Index end = begin + 1;
  while (end < rank && sigma(end - 1) - sigma(end) <= coincidence * sigma(0)) ++end;
  return end;
}

// The rotation R that makes probe^T columns R lower triangular with positive diagonal; for one direction it
// is its sign. QR of the transpose, with the signs of the diagonal moved into the rotation.
template <RealScalar S>
Matrix<S> fixing_rotation(const Matrix<S>& probed, RowVector<S>& diagonal) {
  const ThinQr<S> qr(probed.transpose());
  Matrix<S> rotation = qr.times(Matrix<S>::Identity(probed.cols(), probed.cols()));
  diagonal = qr.triangle().diagonal().transpose();
  for (Index k = 0; k < diagonal.size(); ++k) {
    if (diagonal(k) < 0) rotation.col(k) = -rotation.col(k).eval();
  }
  return rotation;
}

// The block diagonal rotation that fixes the signs of single columns and the rotations of clusters [N6.2],
// and the margin with which it does. It has to be applied to the scaled factors: inside a cluster the
// singular values need not be equal.
template <RealScalar S>
struct Fixing {
  Matrix<S> rotation;
  S margin{1};
};

// The widths of the clusters, which follow each other.
template <RealScalar S>
std::vector<Index> cluster_sizes(const RowVector<S>& sigma, Index rank, S coincidence) {
  std::vector<Index> sizes;
  for (Index begin = 0; begin < rank; begin += sizes.back()) {
    sizes.push_back(cluster_end(sigma, begin, rank, coincidence) - begin);
  }
  return sizes;
}

// Column k does not depend on how many there are.
template <RealScalar S>
Matrix<S> sign_probe(Index rows, Index columns, Probe kind, const std::optional<Index>& probed_rows) {
  const bool plain = kind == Probe::Plain;
  const Index half = plain ? rows : rows / 2;
  Matrix<S> vectors = fixed_probe<S>(rows, plain ? columns : (columns + 1) / 2, sign_probe_salt);
  if (probed_rows) {
    for (Index begin = 0; begin < rows; begin += half)
      vectors.middleRows(begin + *probed_rows, half - *probed_rows).setZero();
  }
  if (plain) return vectors;
  Matrix<S> probe(rows, 2 * vectors.cols());
  for (Index k = 0; k < vectors.cols(); ++k) {
    probe.col(2 * k) = vectors.col(k);
    probe.col(2 * k + 1) << -vectors.col(k).tail(half), vectors.col(k).head(half);
  }
  return probe;
}

// @param columns, core, lengths  the scaled factor is columns * core, with columns of these lengths
template <RealScalar S>
Fixing<S> fix_columns(const RowVector<S>& sigma, const Matrix<S>& columns, const Matrix<S>& core,
                      const RowVector<S>& lengths, S coincidence, Probe kind,
                      const std::optional<Index>& probed_rows) {
  using std::abs;
  Fixing<S> result{Matrix<S>::Zero(core.cols(), core.cols())};
  const std::vector<Index> sizes = cluster_sizes(sigma, core.cols(), coincidence);
  if (sizes.empty()) return result;
  const Matrix<S> probe =
      sign_probe<S>(columns.rows(), *std::max_element(sizes.begin(), sizes.end()), kind, probed_rows);
  const Matrix<S> probed = (probe.transpose() * columns) * core;
  Index begin = 0;
  for (const Index size : sizes) {
    RowVector<S> diagonal;
    result.rotation.block(begin, begin, size, size) =
        fixing_rotation<S>(probed.block(0, begin, size, size), diagonal);
    for (Index k = 0; k < size; ++k) {
      const S scale = probe.col(k).norm() * lengths(begin + k);
      result.margin = std::min(result.margin, S(abs(diagonal(k)) / scale));
    }
    begin += size;
  }
  return result;
}

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

}  // namespace

template <RealScalar S>
Balanced<S> balance(const Matrix<S>& left, const Matrix<S>& right, S coincidence, S noise, Probe probe,
                    std::optional<Index> probed_rows) {
  using std::sqrt;
  const Index width = right.cols();
  const OrthonormalFactors<S> left_qr = orthonormal_factors(left);
  const OrthonormalFactors<S> right_qr = orthonormal_factors(right);
  const Svd<S> svd = thin_svd<S>(left_qr.triangle * right_qr.triangle.transpose());

  Balanced<S> result;
  Index rank = rank_of(svd.sigma, width, coincidence, noise);
  if (probe == Probe::Embedded) rank += rank % 2;  // singular values come in pairs
  result.rank = rank;
  result.sigma = RowVector<S>::Zero(width);
  result.sigma.head(rank) = svd.sigma.head(rank);
  const RowVector<S> root = svd.sigma.head(rank).unaryExpr([](const S& s) { return S(sqrt(s)); });
  const Matrix<S> left_core = left_qr.correction * svd.u.leftCols(rank) * root.asDiagonal();
  const Matrix<S> right_core = right_qr.correction * svd.v.leftCols(rank) * root.asDiagonal();
  const Fixing<S> fixing =
      fix_columns<S>(svd.sigma, right_qr.columns, right_core, root, coincidence, probe, probed_rows);
  result.sign_margin = fixing.margin;
  result.left = Matrix<S>::Zero(left.rows(), width);
  result.right = Matrix<S>::Zero(right.rows(), width);
  result.left.leftCols(rank).noalias() = left_qr.columns * (left_core * fixing.rotation);
  result.right.leftCols(rank).noalias() = right_qr.columns * (right_core * fixing.rotation);
  if (rank == width) {
    // L^T = R1^T U sigma^-1/2 and L^-1 = R2^T V sigma^-1/2: inverse to each other without inverting a
    // triangle [N6].
    const Matrix<S> scaling = root.cwiseInverse().asDiagonal() * fixing.rotation;
    const Matrix<S> transposed = left_qr.triangle.transpose() * svd.u * scaling;
    result.linear = GeneralLinear<S>::from_matrix_and_inverse(
        transposed.transpose(), right_qr.triangle.transpose() * svd.v * scaling);
  }
  return result;
}

template Balanced<float> balance(const Matrix<float>&, const Matrix<float>&, float, float, Probe,
                                 std::optional<Index>);
template Balanced<double> balance(const Matrix<double>&, const Matrix<double>&, double, double, Probe,
                                  std::optional<Index>);
template Balanced<Float50> balance(const Matrix<Float50>&, const Matrix<Float50>&, Float50, Float50, Probe,
                                   std::optional<Index>);

}  // namespace attnsym
