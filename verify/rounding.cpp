#include "verify/rounding.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "symmetry/errors.hpp"
#include "symmetry/permutation.hpp"
#include "symmetry/safe_norm.hpp"
#include "verify/storage_error.hpp"

namespace attnsym {
namespace {

// [N7] variance of row p of the circuit: sum_k var(L_pk) |R_k|^2 + L_pk^2 |sigma_R,k|^2.
RowVector<double> row_variances(const Matrix<double>& left, const Matrix<double>& left_radius,
                                const Matrix<double>& right, const Matrix<double>& right_radius) {
  const RowVector<double> right_squares = right.colwise().squaredNorm();
  const RowVector<double> right_noise = right_radius.colwise().squaredNorm() / 3;
  return (variance_of(left_radius) * right_squares.transpose() + left.cwiseAbs2() * right_noise.transpose())
      .transpose();
}

RowVector<double> row_variances(const StoredCircuit& c) {
  return row_variances(c.value.left, c.radius.left, c.value.right, c.radius.right);
}

RowVector<double> column_variances(const StoredCircuit& c) {
  return row_variances(c.value.right, c.radius.right, c.value.left, c.radius.left);
}

// [N4] What computing the norm of a difference may have got wrong: 2 gamma (|L| |R| + |L'| |R'|), with gamma
// for the dot products and the QR of these sizes.
double computing_error(const StoredCircuit& a, const StoredCircuit& b) {
  constexpr double eps = std::numeric_limits<double>::epsilon();
  const Index inner = a.value.left.cols() + b.value.left.cols();
  const double gamma = eps * static_cast<double>(10 * inner * (a.value.left.rows() + a.value.right.rows()));
  return 2 * gamma *
         (a.value.left.norm() * a.value.right.norm() + b.value.left.norm() * b.value.right.norm());
}

DifferenceSquares squares_of(const StoredCircuit& a, const StoredCircuit& b, int exponent) {
  const StoredCircuit x = at_exponent(a, exponent);
  const StoredCircuit y = at_exponent(b, exponent);
  const DifferenceNorms<double> apart = difference_norms(x.value, y.value);
  return {apart.rows.cwiseAbs2(),
          apart.columns.cwiseAbs2(),
          row_variances(x) + row_variances(y),
          column_variances(x) + column_variances(y),
          apart.norm_a,
          apart.norm_b,
          computing_error(x, y)};
}

}  // namespace

CircuitComparison compare(const StoredCircuit& a, const StoredCircuit& b) {
  const int exponent = std::max(a.exponent, b.exponent);
  ComparisonSum sum(exponent);
  sum.add(squares_of(a, b, exponent));
  return sum.result(std::max(a.value.left.cols(), b.value.left.cols()),
                    std::max(effective_unit(a), effective_unit(b)));
}

CircuitComparison compare(const StoredScores& a, const StoredScores& b) {
  const std::vector<TermPair> pairs = paired_terms(a, b);
  int exponent = pairs.front().a.exponent;
  for (const TermPair& pair : pairs) exponent = std::max({exponent, pair.a.exponent, pair.b.exponent});
  ComparisonSum sum(exponent);
  for (auto pair = pairs.begin(); pair != pairs.end();) {
    const Harmonic harmonic = pair->harmonic;
    DifferenceSquares squares;
    for (; pair != pairs.end() && pair->harmonic.turns_like(harmonic); ++pair)
      squares += squares_of(pair->a, pair->b, exponent);
    sum.add(squares);
  }
  CircuitComparison result =
      sum.result(std::max(a.inner_width(), b.inner_width()), std::max(effective_unit(a), effective_unit(b)));
  note_offsets(result, a.offsets, b.offsets);
  note_norms(result, a.norms, b.norms);
  note_norms(result, a.gates, b.gates);
  return result;
}

void note_offsets(CircuitComparison& result, const StoredOffsets& of_a, const StoredOffsets& of_b) {
  const Index length = std::max(of_a.value.size(), of_b.value.size()) - 2;
  const StoredOffsets a = extended(of_a, length);
  const StoredOffsets b = extended(of_b, length);
  const RowVector<double> variance = variance_of(a.radius) + variance_of(b.radius);
  Index place = 0;
  const RowVector<double> apart = (a.value - b.value).cwiseAbs();
  const double largest = largest_ratio_of(apart, variance, place);
  result.offset_difference = apart.maxCoeff();
  // In logits: one that is open by d leaves a weight open by a factor of e^d.
  result.resolution = std::max(result.resolution, std::sqrt(variance.maxCoeff()));
  if (!(largest > result.largest_row_ratio)) return;
  result.largest_row_ratio = largest;
  result.largest_row = -1;
}

void note_norms(CircuitComparison& result, const std::vector<StoredCircuit>& a,
                const std::vector<StoredCircuit>& b) {
  require_same_size("the norms of two scores", a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const CircuitComparison lengths = compare(a[i], b[i]);
    // In units of this limit.
    const double largest = lengths.largest_ratio() * result.limit / lengths.limit;
    if (largest > result.largest_frequency_ratio || std::isnan(largest))
      result.largest_frequency_ratio = largest;
    result.resolution = std::max(result.resolution, lengths.resolution);
  }
}

double rounding_noise(const StoredCircuit& circuit) {
  return std::ldexp(std::sqrt(row_variances(circuit).sum()), circuit.exponent);
}

}  // namespace attnsym
