#include "verify/fitted_transport.hpp"

#include <Eigen/QR>
#include <array>

#include "symmetry/circuits.hpp"
#include "symmetry/errors.hpp"
#include "verify/gauge_sides.hpp"
#include "verify/rounding.hpp"

namespace attnsym {
namespace {

using Linear = std::optional<GeneralLinear<double>>;

// A gauge of larger condition has no correct digit in its smallest direction.
constexpr double largest_condition = 1e12;

Linear invertible(const Matrix<double>& matrix) {
  if (!matrix.allFinite()) return std::nullopt;
  try {
    GeneralLinear<double> linear = GeneralLinear<double>::from_matrix(matrix);
    // The product of the Frobenius norms is at least the condition number, and costs nothing.
    if (!(linear.matrix().norm() * linear.inverse_matrix().norm() <= largest_condition)) return std::nullopt;
    return linear;
  } catch (const SingularError&) {
    return std::nullopt;
  }
}

// x with from x = to in the least squares sense.
Matrix<double> least_squares(const Matrix<double>& from, const Matrix<double>& to) {
  return Eigen::HouseholderQR<Matrix<double>>(from).solve(to);
}

// Which equation of a gauge L is solved: written_b = written_a L^T, reading_a = reading_b L, or the mean of
// both solutions, which solves (M_a + M_b) / 2 = reading_b L written_a^T [N4].
enum class Fit { Written, Mean, Reading };

Linear fitted(const GaugeSides& a, const GaugeSides& b, Fit fit) {
  const Index d = a.written.rows() - 1;  // the bias is free and says nothing of L
  if (d < a.written.cols()) return std::nullopt;
  Matrix<double> matrix = Matrix<double>::Zero(a.written.cols(), a.written.cols());
  if (fit != Fit::Reading) matrix += least_squares(a.written.topRows(d), b.written.topRows(d)).transpose();
  if (fit != Fit::Written) matrix += least_squares(b.reading, a.reading);
  if (fit == Fit::Mean) matrix /= 2;
  return invertible(matrix);
}

// One reader's circuit in A and in B.
struct ReaderCircuits {
  StoredCircuit a;
  StoredCircuit b;
};

// What a gauge connects: both sides in A and in B, the circuits of the readers in B's order, and how a
// circuit is made of the sides.
struct GaugeProblem {
  GaugeSides a;
  GaugeSides b;
  std::vector<ReaderCircuits> readers;
  double scale;
  bool written_left;  // V O^T has the written factor on the left, Q K^T on the right

  Circuit<double> circuit(const Matrix<double>& reading, const Matrix<double>& written) const {
    return written_left ? Circuit<double>{written, scale * reading}
                        : Circuit<double>{scale * reading, written};
  }
};

// Whether the gauge carries A's factors to B's: a moved reading factor with B's written one, and the other
// way round, give B's circuit within rounding.
bool holds(const GaugeProblem& problem, const GeneralLinear<double>& linear) {
  const GaugeSides& a = problem.a;
  const GaugeSides& b = problem.b;
  const Index d = a.written.rows() - 1;
  const Index rows = a.reading.rows() / static_cast<Index>(problem.readers.size());
  const Matrix<double> reading_off = a.reading * linear.inverse_matrix() - b.reading;
  const Matrix<double> written_off = (a.written * linear.matrix().transpose() - b.written).topRows(d);
  const Matrix<double> written = b.written.topRows(d);
  for (std::size_t i = 0; i < problem.readers.size(); ++i) {
    const StoredCircuit& from = problem.readers[i].a;
    const StoredCircuit& to = problem.readers[i].b;
    const double limit = ratio_limit(written.cols(), std::max(effective_unit(from), effective_unit(to)));
    const auto small = [&](const Circuit<double>& difference) {
      return explained_by_rounding(difference, from, to, limit);
    };
    if (!small(problem.circuit(reading_off.middleRows(rows * i, rows), written))) return false;
    if (!small(problem.circuit(b.reading.middleRows(rows * i, rows), written_off))) return false;
  }
  return true;
}

std::optional<Affine<double>> fitted_gauge(const GaugeProblem& problem) {
  for (const Fit fit : {Fit::Written, Fit::Mean, Fit::Reading}) {
    const Linear linear = fitted(problem.a, problem.b, fit);
    if (!linear || !holds(problem, *linear)) continue;
    const RowVector<double> shift =
        problem.b.written.bottomRows(1) - problem.a.written.bottomRows(1) * linear->matrix().transpose();
    return Affine<double>{*linear, shift};
  }
  return std::nullopt;
}

// The matched circuits of one group, in the order of B's readers.
std::vector<ReaderCircuits> matched_circuits(const StoredAttention& a, const StoredAttention& b, Index group,
                                             const Matching& matching,
                                             StoredCircuit (*circuit)(const StoredAttention&, Index)) {
  const Index count = a.config.readers_per_group();
  std::vector<ReaderCircuits> result(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) {
    const Index head = group * count + i;
    result[matching.readers[group](i)] = {circuit(a, head), circuit(b, matching.image_of(head))};
  }
  return result;
}

}  // namespace

std::optional<AttentionElement<double>> fitted_transport(const StoredAttention& a, const StoredAttention& b,
                                                         const Matching& matching) {
  AttentionElement<double> element{{}, matching.groups};
  for (Index j = 0; j < matching.groups.size(); ++j) {
    const KvGroup<double>& from = a.weights.groups[j];
    const KvGroup<double>& to = b.weights.groups[matching.groups(j)];
    const Permutation& order = matching.readers[j];
    const Permutation stay = identity_like(order);
    const auto qk =
        fitted_gauge({qk_sides(from, order), qk_sides(to, stay),
                      matched_circuits(a, b, j, matching, stored_qk_circuit), a.config.scale, false});
    if (!qk) return std::nullopt;
    const auto vo = fitted_gauge({vo_sides(from, order), vo_sides(to, stay),
                                  matched_circuits(a, b, j, matching, stored_vo_circuit), 1, true});
    if (!vo) return std::nullopt;
    element.local.push_back({order, {*qk, *vo}});
  }
  return element;
}

}  // namespace attnsym
