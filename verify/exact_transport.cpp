#include "verify/exact_transport.hpp"

#include <cmath>

#include "symmetry/gains.hpp"
#include "symmetry/symmetry_group.hpp"
#include "verify/gauge_sides.hpp"

namespace attnsym {
namespace {

// b / a if that is plus or minus a power of two whose inverse is a number, too; else 0.
double exact_factor(double a, double b) {
  int exponent_a = 0;
  int exponent_b = 0;
  const double mantissa_a = std::frexp(a, &exponent_a);
  const double mantissa_b = std::frexp(b, &exponent_b);
  if (a == 0 || std::abs(mantissa_a) != std::abs(mantissa_b)) return 0;
  const double factor = std::ldexp(mantissa_a == mantissa_b ? 1.0 : -1.0, exponent_b - exponent_a);
  return std::isfinite(factor) && std::isfinite(1 / factor) ? factor : 0;
}

// Whether to = factor * from exactly. A product with a power of two rounds where it is subnormal, and then
// the way back leads elsewhere.
template <class Column>
bool is_multiple(const Column& to, const Column& from, double factor) {
  return to == from * factor && from == to / factor;
}

Index first_nonzero(const Matrix<double>& m, Index column) {
  for (Index p = 0; p < m.rows(); ++p) {
    if (m(p, column) != 0) return p;
  }
  return m.rows();
}

// The factor f with b.written column = f * a.written column and b.reading column = a.reading column / f, or
// 0.
double column_factor(const GaugeSides& a, Index ka, const GaugeSides& b, Index kb) {
  double factor = 1;
  if (const Index p = first_nonzero(a.written, ka); p < a.written.rows()) {
    factor = exact_factor(a.written(p, ka), b.written(p, kb));
  } else if (const Index q = first_nonzero(a.reading, ka); q < a.reading.rows()) {
    factor = exact_factor(b.reading(q, kb), a.reading(q, ka));
  }
  if (factor == 0) return 0;
  const bool same = is_multiple(b.written.col(kb), a.written.col(ka), factor) &&
                    is_multiple(a.reading.col(ka), b.reading.col(kb), factor);
  return same ? factor : 0;
}

std::optional<Affine<double>> exact_gauge(const GaugeSides& a, const GaugeSides& b) {
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

// The gauge that also carries the key gains of A to those of B, coordinate by coordinate.
std::optional<Affine<double>> with_gains(const Affine<double>& turn, const RowVector<double>& from,
                                         const RowVector<double>& to) {
  Matrix<double> matrix = turn.linear.matrix();
  Matrix<double> inverse = turn.linear.inverse_matrix();
  for (Index row = 0; row < matrix.rows(); ++row) {
    Index column = 0;
    matrix.row(row).cwiseAbs().maxCoeff(&column);
    const bool vanish = from(column) == 0 && to(row) == 0;  // then any factor does
    const double factor = vanish ? 1 : std::abs(exact_factor(from(column), to(row)));
    if (factor == 0) return std::nullopt;
    matrix.row(row) *= factor;
    inverse.col(row) /= factor;
  }
  return Affine<double>{GeneralLinear<double>::from_matrix_and_inverse(matrix, inverse), turn.shift};
}

bool same_offsets(const KvGroup<double>& a, const KvGroup<double>& b, const Permutation& order) {
  for (Index i = 0; i < order.size(); ++i) {
    const QueryHead<double>& to = b.readers[order(i)];
    if (a.readers[i].sink != to.sink || a.readers[i].distance_bias != to.distance_bias) return false;
  }
  return true;
}

}  // namespace

std::optional<AttentionElement<double>> exact_transport(const StoredAttention& stored_a,
                                                        const StoredAttention& stored_b,
                                                        const Matching& matching) {
  const AttentionWeights<double>& a = stored_a.weights;
  const AttentionWeights<double>& b = stored_b.weights;
  if (a.output_bias != b.output_bias) return std::nullopt;
  AttentionElement<double> element{{}, matching.groups};
  for (Index j = 0; j < matching.groups.size(); ++j) {
    const KvGroup<double>& to = b.groups[matching.groups(j)];
    const Permutation& order = matching.readers[j];
    const Permutation stay = identity_like(order);
    if (!same_offsets(a.groups[j], to, order)) return std::nullopt;
    auto qk = exact_gauge(qk_sides(a.groups[j], order), qk_sides(to, stay));
    if (qk && stored_a.config.qk_norm)
      qk = with_gains(*qk, key_gain(a, stored_a.config, j), key_gain(b, stored_b.config, matching.groups(j)));
    if (!qk) return std::nullopt;
    const auto vo = exact_gauge(vo_sides(a.groups[j], order), vo_sides(to, stay));
    if (!vo) return std::nullopt;
    element.local.push_back({order, {*qk, *vo}});
  }
  if (!symmetry_of(stored_a.config).contains(element)) return std::nullopt;
  const bool more_is_moved = stored_a.config.qk_norm || stored_a.config.output_gate;
  if (more_is_moved && !(act(element, a) == b && act(inverse(element), b) == a)) return std::nullopt;
  return element;
}

}  // namespace attnsym
