#include "symmetry/scaled_columns.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "symmetry/random.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t sign_probe_salt = 0x67617465;

// Columns in descending order of size.
template <RealScalar S>
Permutation descending(const RowVector<S>& sizes) {
  std::vector<Index> columns(static_cast<std::size_t>(sizes.size()));
  std::iota(columns.begin(), columns.end(), Index{0});
  std::stable_sort(columns.begin(), columns.end(), [&](Index a, Index b) { return sizes(a) > sizes(b); });
  return inverse(Permutation::from_image(std::move(columns)));
}

template <RealScalar S>
S smallest_gap(const RowVector<S>& descending_sizes) {
  S gap{1};
  for (Index k = 1; k < descending_sizes.size() && descending_sizes(k) > S(0); ++k)
    gap = std::min(gap, S((descending_sizes(k - 1) - descending_sizes(k)) / descending_sizes(0)));
  return gap;
}

}  // namespace

template <RealScalar S>
ScaledColumns<S> scale_columns(const Matrix<S>& left, const Matrix<S>& right, S noise) {
  using std::abs;
  using std::sqrt;
  const Index n = right.cols();
  const Matrix<S> probe = fixed_probe<S>(right.rows(), 1, sign_probe_salt);
  RowVector<S> sizes = left.colwise().norm().cwiseProduct(right.colwise().norm());
  if (sizes.norm() <= noise) sizes.setZero();
  for (Index k = 0; k < n; ++k) {
    if (sizes(k) <= S(noise / sqrt(S(n)))) sizes(k) = S(0);
  }
  Balanced<S> balanced;
  balanced.left = Matrix<S>::Zero(left.rows(), n);
  balanced.right = Matrix<S>::Zero(right.rows(), n);
  balanced.sigma.resize(n);
  const Permutation order = descending<S>(sizes);
  Matrix<S> matrix = Matrix<S>::Zero(n, n);
  Matrix<S> back = matrix;
  for (Index k = 0; k < n; ++k) {
    const Index place = order(k);
    balanced.sigma(place) = sizes(k);
    if (!(sizes(k) > S(0))) continue;
    ++balanced.rank;
    const S seen = probe.col(0).dot(right.col(k));
    balanced.sign_margin =
        std::min(balanced.sign_margin, S(abs(seen) / (probe.norm() * right.col(k).norm())));
    const S factor = S(sqrt(S(left.col(k).norm() / right.col(k).norm()))) * S(seen < S(0) ? -1 : 1);
    balanced.right.col(place) = factor * right.col(k);
    balanced.left.col(place) = left.col(k) / factor;
    matrix(place, k) = factor;
    back(k, place) = S(1) / factor;
  }
  balanced.sign_margin = std::min(balanced.sign_margin, smallest_gap<S>(balanced.sigma));
  if (balanced.rank == n) balanced.linear = GeneralLinear<S>::from_matrix_and_inverse(matrix, back);
  return {std::move(balanced), order};
}

template ScaledColumns<float> scale_columns(const Matrix<float>&, const Matrix<float>&, float);
template ScaledColumns<double> scale_columns(const Matrix<double>&, const Matrix<double>&, double);
template ScaledColumns<Float50> scale_columns(const Matrix<Float50>&, const Matrix<Float50>&, Float50);

}  // namespace attnsym
