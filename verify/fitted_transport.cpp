#include "verify/fitted_transport.hpp"

#include <Eigen/QR>
#include <algorithm>

#include "symmetry/errors.hpp"
#include "symmetry/gauge_blocks.hpp"
#include "verify/gauge_sides.hpp"
#include "verify/rounding.hpp"

namespace attnsym {
namespace {

using Linear = std::optional<GeneralLinear<double>>;
using ComplexMatrix = Eigen::MatrixXcd;

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

// The sides of A and B in the columns of one block, as real or complex matrices.
template <class M>
struct BlockSides {
  M written_a, written_b, reading_a, reading_b;

  // Complex queries take up the inverse of the conjugate: reading_a = reading_b conj(L).
  M solution(Fit fit) const {
    M matrix = M::Zero(written_a.cols(), written_a.cols());
    if (fit != Fit::Reading) matrix += least_squares<M>(written_a, written_b).transpose();
    if (fit != Fit::Written) matrix += least_squares<M>(reading_b, reading_a).conjugate();
    if (fit == Fit::Mean) matrix /= 2;
    return matrix;
  }
};

// One term of a reader's score, or its OV circuit, in A and in B.
struct StoredPair {
  StoredCircuit a;
  StoredCircuit b;
};

// What a gauge connects: both sides in A and in B, without biases that are free; the blocks that it is made
// of; and the circuits of the readers in B's order, per block one, or for complex blocks a cosine and a sine.
struct GaugeProblem {
  GaugeSides a;
  GaugeSides b;
  std::vector<GaugeBlock> blocks;
  std::vector<std::vector<StoredPair>> readers;
  double scale;
  bool written_left;  // V O^T has the written factor on the left, Q K^T on the right

  Circuit<double> circuit(const Matrix<double>& reading, const Matrix<double>& written) const {
    return written_left ? Circuit<double>{written, scale * reading}
                        : Circuit<double>{scale * reading, written};
  }
};

ComplexMatrix complex_columns(const Matrix<double>& matrix, const GaugeBlock& block) {
  const Matrix<double> columns = block_columns(matrix, block);
  ComplexMatrix result(matrix.rows(), block.size());
  result.real() = columns.leftCols(block.size());
  result.imag() = columns.rightCols(block.size());
  return result;
}

void fit_block(Matrix<double>& matrix, const GaugeProblem& problem, const GaugeBlock& block, Fit fit) {
  const auto sides = [&](auto columns) {
    using M = decltype(columns(problem.a.written));
    return BlockSides<M>{columns(problem.a.written), columns(problem.b.written), columns(problem.a.reading),
                         columns(problem.b.reading)};
  };
  if (block.is_complex()) {
    const ComplexMatrix solution =
        sides([&](const Matrix<double>& m) { return complex_columns(m, block); }).solution(fit);
    set_block<double>(matrix, block, solution.real(), solution.imag());
  } else {
    set_block<double>(matrix, block,
                      sides([&](const Matrix<double>& m) { return block_columns(m, block); }).solution(fit),
                      {});
  }
}

Linear fitted(const GaugeProblem& problem, Fit fit) {
  const Index width = problem.a.written.cols();
  Matrix<double> matrix = Matrix<double>::Zero(width, width);
  for (const GaugeBlock& block : problem.blocks) {
    if (problem.a.written.rows() <= block.size()) return std::nullopt;  // the last row may be a free bias
    fit_block(matrix, problem, block, fit);
  }
  return invertible(matrix);
}

// The circuits of one reader made of these sides, block by block, beside the stored ones.
std::vector<StoredDifference> reader_differences(const GaugeProblem& problem, std::size_t reader,
                                                 const Matrix<double>& reading,
                                                 const Matrix<double>& written) {
  std::vector<StoredDifference> differences;
  auto stored = problem.readers[reader].begin();
  const auto add = [&](const GaugeBlock& block, bool sine) {
    differences.push_back(
        {problem.circuit(block_columns(reading, block, sine), block_columns(written, block)), stored->a,
         stored->b});
    ++stored;
  };
  for (const GaugeBlock& block : problem.blocks) {
    add(block, false);
    if (block.is_complex()) add(block, true);
  }
  return differences;
}

double unit_of(const std::vector<StoredPair>& terms) {
  double unit = 0;
  for (const StoredPair& term : terms)
    unit = std::max({unit, effective_unit(term.a), effective_unit(term.b)});
  return unit;
}

// Whether the gauge carries A's factors to B's: a moved reading factor with B's written one, and the other
// way round, give B's circuits within rounding.
bool holds(const GaugeProblem& problem, const GeneralLinear<double>& linear) {
  const GaugeSides& a = problem.a;
  const GaugeSides& b = problem.b;
  const Index rows = a.reading.rows() / static_cast<Index>(problem.readers.size());
  const Matrix<double> reading_off = a.reading * linear.inverse_matrix() - b.reading;
  const Matrix<double> written_off = a.written * linear.matrix().transpose() - b.written;
  for (std::size_t i = 0; i < problem.readers.size(); ++i) {
    const double limit = ratio_limit(b.written.cols(), unit_of(problem.readers[i]));
    const auto small = [&](const Matrix<double>& reading, const Matrix<double>& written) {
      return explained_by_rounding(reader_differences(problem, i, reading, written), limit);
    };
    if (!small(reading_off.middleRows(rows * i, rows), b.written)) return false;
    if (!small(b.reading.middleRows(rows * i, rows), written_off)) return false;
  }
  return true;
}

Linear fitted_gauge(const GaugeProblem& problem) {
  for (const Fit fit : {Fit::Written, Fit::Mean, Fit::Reading}) {
    const Linear linear = fitted(problem, fit);
    if (linear && holds(problem, *linear)) return linear;
  }
  return std::nullopt;
}

// The sides without biases that are free, which say nothing of the gauge.
GaugeSides without_free_bias(GaugeSides sides, const std::vector<bool>& free) {
  for (Index k = 0; k < sides.written.cols(); ++k) {
    if (free[k]) sides.written(sides.written.rows() - 1, k) = 0;
  }
  return sides;
}

// A group of A, the group of B that it became, and the readers' order.
struct MatchedGroups {
  const KvGroup<double>& from;
  const KvGroup<double>& to;
  const Permutation& order;

  template <class Sides>
  std::optional<Affine<double>> gauge(Sides sides, const std::vector<bool>& free,
                                      GaugeProblem problem) const {
    const GaugeSides a = sides(from, order);
    const GaugeSides b = sides(to, identity_like(order));
    problem.a = without_free_bias(a, free);
    problem.b = without_free_bias(b, free);
    const Linear linear = fitted_gauge(problem);
    if (!linear) return std::nullopt;
    // What is not free has been compared with the circuits; free biases are made to agree.
    RowVector<double> shift =
        b.written.bottomRows(1) - a.written.bottomRows(1) * linear->matrix().transpose();
    for (Index k = 0; k < shift.size(); ++k) {
      if (!free[k]) shift(k) = 0;
    }
    return Affine<double>{*linear, shift};
  }
};

// The matched circuits of one group, in the order of B's readers.
template <class Circuits>
std::vector<std::vector<StoredPair>> matched_circuits(const AttentionConfig& config, Index group,
                                                      const Matching& matching, Circuits circuits) {
  const Index count = config.readers_per_group();
  std::vector<std::vector<StoredPair>> result(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) {
    const Index head = group * count + i;
    result[matching.readers[group](i)] = circuits(head, matching.image_of(head));
  }
  return result;
}

std::vector<StoredPair> stored_pairs(const StoredScores& a, const StoredScores& b) {
  std::vector<StoredPair> pairs;
  for (TermPair& pair : paired_terms(a, b)) pairs.push_back({std::move(pair.a), std::move(pair.b)});
  return pairs;
}

std::vector<bool> free_key_bias(const AttentionConfig& config) {
  std::vector<bool> free(config.key_width, false);
  for (const GaugeBlock& block : gauge_blocks(config)) {
    if (!key_bias_is_free(config, block)) continue;
    for (const Index column : block.real) free[column] = true;
  }
  return free;
}

}  // namespace

std::optional<AttentionElement<double>> fitted_transport(const StoredAttention& a, const StoredAttention& b,
                                                         const Matching& matching) {
  const std::vector<GaugeBlock> qk_blocks = gauge_blocks(a.config);
  const std::vector<bool> free_key = free_key_bias(a.config);
  const std::vector<bool> free_value(a.config.value_width, value_bias_is_free(a.config));
  AttentionElement<double> element{{}, matching.groups};
  for (Index j = 0; j < matching.groups.size(); ++j) {
    const MatchedGroups groups{a.weights.groups[j], b.weights.groups[matching.groups(j)],
                               matching.readers[j]};
    const auto scores = matched_circuits(a.config, j, matching, [&](Index head, Index image) {
      return stored_pairs(stored_scores(a, head), stored_scores(b, image));
    });
    const auto qk = groups.gauge(qk_sides, free_key, {{}, {}, qk_blocks, scores, a.config.scale, false});
    if (!qk) return std::nullopt;
    const auto outputs = matched_circuits(a.config, j, matching, [&](Index head, Index image) {
      return std::vector<StoredPair>{{stored_vo_circuit(a, head), stored_vo_circuit(b, image)}};
    });
    const auto vo =
        groups.gauge(vo_sides, free_value, {{}, {}, {real_block(a.config.value_width)}, outputs, 1, true});
    if (!vo) return std::nullopt;
    element.local.push_back({matching.readers[j], {*qk, *vo}});
  }
  return element;
}

}  // namespace attnsym
