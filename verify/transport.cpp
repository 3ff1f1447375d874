#include "verify/transport.hpp"

#include <Eigen/QR>
#include <cmath>
#include <limits>

#include "symmetry/circuits.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// A gauge of larger condition has no correct digit in its smallest direction.
constexpr double largest_condition = 1e12;

// Both sides of one gauge: what is written (keys or values with their bias) and everything that reads it.
struct Sides {
  Matrix<double> written;
  Matrix<double> reading;
};

Sides qk_sides(const KvGroup<double>& group, const Permutation& order) {
  const Index rows = group.key.rows() + 1;
  Sides sides{homogeneous(group.key, group.key_bias), Matrix<double>(rows * order.size(), group.key.cols())};
  for (Index i = 0; i < order.size(); ++i) {
    const QueryHead<double>& reader = group.readers[i];
    sides.reading.middleRows(rows * order(i), rows) = homogeneous(reader.query, reader.query_bias);
  }
  return sides;
}

Sides vo_sides(const KvGroup<double>& group, const Permutation& order) {
  const Index rows = group.value.rows();
  Sides sides{homogeneous(group.value, group.value_bias),
              Matrix<double>(rows * order.size(), group.value.cols())};
  for (Index i = 0; i < order.size(); ++i) {
    sides.reading.middleRows(rows * order(i), rows) = group.readers[i].output.transpose();
  }
  return sides;
}

// b / a if that is plus or minus a power of two, else 0.
double exact_factor(double a, double b) {
  int exponent_a = 0;
  int exponent_b = 0;
  const double mantissa_a = std::frexp(a, &exponent_a);
  const double mantissa_b = std::frexp(b, &exponent_b);
  if (a == 0 || std::abs(mantissa_a) != std::abs(mantissa_b)) return 0;
  return std::ldexp(mantissa_a == mantissa_b ? 1.0 : -1.0, exponent_b - exponent_a);
}

Index first_nonzero(const Matrix<double>& m, Index column) {
  for (Index p = 0; p < m.rows(); ++p) {
    if (m(p, column) != 0) return p;
  }
  return m.rows();
}

// The factor f with b.written column = f * a.written column and b.reading column = a.reading column / f, or
// 0.
double column_factor(const Sides& a, Index ka, const Sides& b, Index kb) {
  double factor = 1;
  if (const Index p = first_nonzero(a.written, ka); p < a.written.rows()) {
    factor = exact_factor(a.written(p, ka), b.written(p, kb));
  } else if (const Index q = first_nonzero(a.reading, ka); q < a.reading.rows()) {
    factor = exact_factor(b.reading(q, kb), a.reading(q, ka));
  }
  if (factor == 0) return 0;
  const bool same =
      b.written.col(kb) == a.written.col(ka) * factor && b.reading.col(kb) == a.reading.col(ka) / factor;
  return same ? factor : 0;
}

std::optional<Affine<double>> exact_gauge(const Sides& a, const Sides& b) {
  const Index n = a.written.cols();
  Matrix<double> matrix = Matrix<double>::Zero(n, n);
  Matrix<double> inverse = Matrix<double>::Zero(n, n);
  std::vector<bool> used(n, false);
  for (Index kb = 0; kb < n; ++kb) {
    bool found = false;
    for (Index step = 0; step < n && !found; ++step) {
      const Index ka =
          (kb + step) % n;  // the same place first: most gauges of real pairs leave columns in place
      const double factor = used[ka] ? 0 : column_factor(a, ka, b, kb);
      if (factor == 0) continue;
      matrix(kb, ka) = factor;
      inverse(ka, kb) = 1 / factor;
      used[ka] = found = true;
    }
    if (!found) return std::nullopt;
  }
  return Affine<double>{GeneralLinear<double>::from_matrix_and_inverse(matrix, inverse),
                        RowVector<double>::Zero(n)};
}

// written_b = written_a L^T in the least squares sense; the last rows are the biases and give the shift.
std::optional<Affine<double>> fitted_gauge(const Matrix<double>& written_a, const RowVector<double>& bias_a,
                                           const Matrix<double>& written_b, const RowVector<double>& bias_b) {
  const Index n = written_a.cols();
  if (written_a.rows() < n) return std::nullopt;
  const Matrix<double> transposed = Eigen::HouseholderQR<Matrix<double>>(written_a).solve(written_b);
  if (!transposed.allFinite()) return std::nullopt;
  try {
    GeneralLinear<double> linear = GeneralLinear<double>::from_matrix(transposed.transpose());
    // The product of the Frobenius norms is at least the condition number, and costs nothing.
    if (!(linear.matrix().norm() * linear.inverse_matrix().norm() <= largest_condition)) return std::nullopt;
    const RowVector<double> shift = bias_b - bias_a * transposed;
    return Affine<double>{std::move(linear), shift};
  } catch (const SingularError&) {
    return std::nullopt;
  }
}

}  // namespace

std::optional<AttentionElement<double>> exact_transport(const AttentionWeights<double>& a,
                                                        const AttentionWeights<double>& b,
                                                        const Matching& matching) {
  if (a.output_bias != b.output_bias) return std::nullopt;
  AttentionElement<double> element{{}, matching.groups};
  for (Index j = 0; j < matching.groups.size(); ++j) {
    const KvGroup<double>& to = b.groups[matching.groups(j)];
    const Permutation& order = matching.readers[j];
    const Permutation stay = identity_like(order);
    const auto qk = exact_gauge(qk_sides(a.groups[j], order), qk_sides(to, stay));
    if (!qk) return std::nullopt;
    const auto vo = exact_gauge(vo_sides(a.groups[j], order), vo_sides(to, stay));
    if (!vo) return std::nullopt;
    element.local.push_back({order, {*qk, *vo}});
  }
  return element;
}

std::optional<AttentionElement<double>> fitted_transport(const AttentionWeights<double>& a,
                                                         const AttentionWeights<double>& b,
                                                         const Matching& matching) {
  AttentionElement<double> element{{}, matching.groups};
  for (Index j = 0; j < matching.groups.size(); ++j) {
    const KvGroup<double>& from = a.groups[j];
    const KvGroup<double>& to = b.groups[matching.groups(j)];
    const auto qk = fitted_gauge(from.key, from.key_bias, to.key, to.key_bias);
    const auto vo = fitted_gauge(from.value, from.value_bias, to.value, to.value_bias);
    if (!qk || !vo) return std::nullopt;
    element.local.push_back({matching.readers[j], {*qk, *vo}});
  }
  return element;
}

}  // namespace attnsym
