#include "symmetry/sign_rule.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "symmetry/matrix_products.hpp"
#include "symmetry/random.hpp"
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

// The widths of the clusters, which follow each other.
template <RealScalar S>
std::vector<Index> cluster_sizes(const RowVector<S>& sigma, Index rank, S coincidence) {
  std::vector<Index> sizes;
  for (Index begin = 0; begin < rank; begin += sizes.back()) {
    sizes.push_back(cluster_end(sigma, begin, rank, coincidence) - begin);
  }
  return sizes;
}

}  // namespace

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
  const Matrix<S> probed = multiply(multiply_tn(probe, columns), core);
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

template Matrix<float> sign_probe(Index, Index, Probe, const std::optional<Index>&);
template Matrix<double> sign_probe(Index, Index, Probe, const std::optional<Index>&);
template Matrix<Float50> sign_probe(Index, Index, Probe, const std::optional<Index>&);

template Fixing<float> fix_columns(const RowVector<float>&, const Matrix<float>&, const Matrix<float>&,
                                   const RowVector<float>&, float, Probe, const std::optional<Index>&);
template Fixing<double> fix_columns(const RowVector<double>&, const Matrix<double>&, const Matrix<double>&,
                                    const RowVector<double>&, double, Probe, const std::optional<Index>&);
template Fixing<Float50> fix_columns(const RowVector<Float50>&, const Matrix<Float50>&,
                                     const Matrix<Float50>&, const RowVector<Float50>&, Float50, Probe,
                                     const std::optional<Index>&);

}  // namespace attnsym
