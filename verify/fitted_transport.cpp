#include "verify/fitted_transport.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <atomic>
#include <cmath>

#include "symmetry/errors.hpp"
#include "symmetry/permutation.hpp"
#include "verify/block_matrices.hpp"
#include "verify/checker/gauge_kind.hpp"
#include "verify/checker/gauge_trial.hpp"
#include "verify/rounding.hpp"
#include "verify/rounding_law.hpp"

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
template <class M>
M least_squares(const M& from, const M& to) {
  return Eigen::HouseholderQR<M>(from).solve(to);
}

// Which equation of a gauge L is solved: written_b = written_a L^T, reading_a = reading_b L, or the mean of
// both solutions, which solves (M_a + M_b) / 2 = reading_b L written_a^T [N4].
enum class Fit { Written, Mean, Reading };

// A group of A, the group of B that it became, and the readers' order.
struct MatchedGroups {
  const StoredAttention& a;
  const StoredAttention& b;
  Index from;
  Index to;
  const Permutation& order;

  Index head_of_a(Index reader) const { return order.size() * from + reader; }
  Index head_of_b(Index reader) const { return order.size() * to + order(reader); }
};

// All readers of a group below each other, reader i in place order(i).
Matrix<double> stacked_readings(const GaugeKind& kind, const StoredAttention& module, Index group,
                                const Permutation& order) {
  Matrix<double> stacked;
  for (Index i = 0; i < order.size(); ++i) {
    const Matrix<double> reading = kind.reading(module, order.size() * group + i).value;
    if (i == 0) stacked.resize(reading.rows() * order.size(), reading.cols());
    stacked.middleRows(reading.rows() * order(i), reading.rows()) = reading;
  }
  return stacked;
}

// The sides that a fit needs, in A and in B.
struct FitSides {
  Matrix<double> written_a, written_b, reading_a, reading_b;

  FitSides(const GaugeKind& kind, const MatchedGroups& groups, Fit fit) {
    if (fit != Fit::Reading) {
      written_a = written_factor(kind, groups.a, groups.from).value;
      written_b = written_factor(kind, groups.b, groups.to).value;
    }
    if (fit != Fit::Written) {
      reading_a = stacked_readings(kind, groups.a, groups.from, groups.order);
      reading_b = stacked_readings(kind, groups.b, groups.to, identity_like(groups.order));
    }
  }

  // Complex queries take up the inverse of the conjugate: reading_a = reading_b conj(L).
  template <class M>
  M solution(const GaugeBlock& block, Fit fit) const {
    M matrix = M::Zero(block.size(), block.size());
    if (fit != Fit::Reading)
      matrix +=
          least_squares<M>(columns_of<M>(written_a, block), columns_of<M>(written_b, block)).transpose();
    if (fit != Fit::Written)
      matrix +=
          least_squares<M>(columns_of<M>(reading_b, block), columns_of<M>(reading_a, block)).conjugate();
    if (fit == Fit::Mean) matrix /= 2;
    return matrix;
  }
};

Linear fitted(const GaugeKind& kind, const MatchedGroups& groups, Fit fit) {
  const auto width = static_cast<Index>(kind.free_biases.size());
  const FitSides sides(kind, groups, fit);
  Matrix<double> matrix = Matrix<double>::Zero(width, width);
  for (const GaugeBlock& block : kind.blocks) {
    if (groups.a.config.model_width < block.size()) return std::nullopt;
    if (block.is_complex()) {
      const auto solution = sides.solution<ComplexMatrix>(block, fit);
      set_block<double>(matrix, block, solution.real(), solution.imag());
    } else {
      set_block<double>(matrix, block, sides.solution<Matrix<double>>(block, fit), {});
    }
  }
  return invertible(matrix);
}

// A gauge and the comparisons of all readers' circuits, in A's order.
struct FittedGauge {
  GeneralLinear<double> linear;
  std::vector<CircuitComparison> readers;
};

std::optional<FittedGauge> tried(const GaugeKind& kind, const MatchedGroups& groups,
                                 const GeneralLinear<double>& linear) {
  const GaugeTrial trial(written_factor(kind, groups.a, groups.from),
                         written_factor(kind, groups.b, groups.to), linear, kind.blocks, kind.factors,
                         circuit_rules(groups.a, groups.b));
  FittedGauge gauge{linear, {}};
  for (Index i = 0; i < groups.order.size(); ++i) {
    const auto compared = trial.compare(kind.reading(groups.a, groups.head_of_a(i)),
                                        kind.reading(groups.b, groups.head_of_b(i)));
    if (!compared) return std::nullopt;
    gauge.readers.push_back(*compared);
  }
  return gauge;
}

std::optional<FittedGauge> fitted_gauge(const GaugeKind& kind, const MatchedGroups& groups) {
  for (const Fit fit : {Fit::Written, Fit::Mean, Fit::Reading}) {
    const Linear linear = fitted(kind, groups, fit);
    if (!linear) continue;
    if (auto gauge = tried(kind, groups, *linear)) return gauge;
  }
  return std::nullopt;
}

// What is not free has been compared with the circuits; free biases are made to agree.
Affine<double> with_shift(const GaugeKind& kind, const MatchedGroups& groups,
                          const GeneralLinear<double>& linear) {
  const RowVector<double> from = kind.written(groups.a, groups.from).value.bottomRows(1);
  const RowVector<double> to = kind.written(groups.b, groups.to).value.bottomRows(1);
  RowVector<double> shift = to - from * linear.matrix().transpose();
  for (Index k = 0; k < shift.size(); ++k) {
    if (!kind.free_biases[k]) shift(k) = 0;
  }
  return {linear, shift};
}

// One key/value group moved, with the comparisons of its heads.
struct FittedGroup {
  GroupMove<double> move;
  std::vector<HeadComparison> heads;
};

std::optional<FittedGroup> fitted_group(const MatchedGroups& groups, const GaugeKind& qk,
                                        const GaugeKind& vo) {
  const auto qk_gauge = fitted_gauge(qk, groups);
  if (!qk_gauge) return std::nullopt;
  const auto vo_gauge = fitted_gauge(vo, groups);
  if (!vo_gauge) return std::nullopt;
  FittedGroup result{
      {groups.order, {with_shift(qk, groups, qk_gauge->linear), with_shift(vo, groups, vo_gauge->linear)}},
      {}};
  for (Index i = 0; i < groups.order.size(); ++i) {
    HeadComparison head{groups.head_of_a(i), groups.head_of_b(i), qk_gauge->readers[i],
                        vo_gauge->readers[i].transposed()};
    note_offsets(head.qk, stored_offsets(groups.a, head.head), stored_offsets(groups.b, head.image));
    note_norms(head.qk, stored_norms(groups.a, head.head), stored_norms(groups.b, head.image));
    if (!head.qk.explained_by_rounding()) return std::nullopt;
    result.heads.push_back(head);
  }
  return result;
}

}  // namespace

std::optional<FittedTransport> fitted_transport(const StoredAttention& a, const StoredAttention& b,
                                                const Matching& matching, const RunTasks& run_tasks) {
  const GaugeKind qk = qk_kind(a.config);
  const GaugeKind vo = vo_kind(a.config);
  std::vector<std::optional<FittedGroup>> groups(a.weights.groups.size());
  std::atomic<bool> failed = false;
  run_tasks(groups.size(), [&](std::size_t j) {
    if (failed) return;
    const auto from = static_cast<Index>(j);
    groups[j] = fitted_group({a, b, from, matching.groups(from), matching.readers[j]}, qk, vo);
    if (!groups[j]) failed = true;
  });
  if (failed) return std::nullopt;
  FittedTransport result{{{}, matching.groups}, {}};
  for (std::optional<FittedGroup>& group : groups) {
    result.b_from_a.local.push_back(std::move(group->move));
    result.heads.insert(result.heads.end(), group->heads.begin(), group->heads.end());
  }
  return result;
}

}  // namespace attnsym
