#include "verify/certificate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "symmetry/symmetry_group.hpp"
#include "verify/attend.hpp"
#include "verify/rounding.hpp"

namespace attnsym {
namespace {

constexpr Index block_rows = 256;  // of a D x D product held at a time

// Sums over the entries of a difference of circuits and of its variance, in total, by row and by column.
struct Squares {
  RowVector<double> rows;
  RowVector<double> columns;
};

Squares zero_squares(const StoredCircuit& c) {
  return {RowVector<double>::Zero(c.value.left.rows()), RowVector<double>::Zero(c.value.right.rows())};
}

void add_block(Squares& squares, const Matrix<double>& entries, Index begin) {
  squares.rows.segment(begin, entries.rows()) += entries.rowwise().sum().transpose();
  squares.columns += entries.colwise().sum();
}

Matrix<double> product_rows(const Matrix<double>& left, const Matrix<double>& right, Index begin,
                            Index count) {
  return left.middleRows(begin, count) * right.transpose();
}

// N7 entry by entry: V_pq = sum_k var(L_pk) R_qk^2 + L_pk^2 var(R_qk).
Matrix<double> variance_rows(const StoredCircuit& c, Index begin, Index count) {
  return product_rows(c.variance.left, c.value.right.cwiseAbs2(), begin, count) +
         product_rows(c.value.left.cwiseAbs2(), c.variance.right, begin, count);
}

bool within(const RowVector<double>& difference, const RowVector<double>& variance, double limit) {
  // An overflow proves nothing.
  if (!std::isfinite(difference.sum()) || !std::isfinite(variance.sum())) return false;
  return (difference.array() <= limit * limit * variance.array()).all() &&
         difference.sum() <= limit * limit * variance.sum();
}

double unit_of(const StoredCircuit& c) {
  return std::max(effective_unit(c.value.left, c.variance.left),
                  effective_unit(c.value.right, c.variance.right));
}

// Whether claim.left claim.right^T is b within the rounding of a and b.
bool agrees(const Circuit<double>& claim, const StoredCircuit& a, const StoredCircuit& b) {
  Squares difference = zero_squares(b);
  Squares variance = zero_squares(b);
  for (Index begin = 0; begin < b.value.left.rows(); begin += block_rows) {
    const Index count = std::min(block_rows, b.value.left.rows() - begin);
    const Matrix<double> apart = product_rows(claim.left, claim.right, begin, count) -
                                 product_rows(b.value.left, b.value.right, begin, count);
    add_block(difference, apart.cwiseAbs2(), begin);
    add_block(variance, variance_rows(a, begin, count) + variance_rows(b, begin, count), begin);
  }
  const double limit = ratio_limit(b.value.left.cols(), std::max(unit_of(a), unit_of(b)));
  return within(difference.rows, variance.rows, limit) && within(difference.columns, variance.columns, limit);
}

// The circuit of A against that of B, and twice with one factor transported.
bool circuit_holds(const StoredCircuit& a, const Circuit<double>& moved, const StoredCircuit& b) {
  return agrees(a.value, a, b) && agrees({moved.left, b.value.right}, a, b) &&
         agrees({b.value.left, moved.right}, a, b);
}

// What the module puts out for the token zero alone, and the variance of that, from the definitions N1 and
// N7.
RowVector<double> output_at_zero(const StoredAttention& module) {
  return attend(module.config, module.weights,
                Matrix<double>(Matrix<double>::Zero(1, module.config.model_width)));
}

double variance_at_zero(const StoredAttention& module) {
  double sum = module.variance.output_bias.sum();
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    const KvGroup<double>& group = module.weights.groups[j];
    const KvGroup<double>& noise = module.variance.groups[j];
    for (Index k = 0; k < module.config.value_width; ++k) {
      RowVector<double> together = RowVector<double>::Zero(module.config.model_width);
      for (std::size_t i = 0; i < group.readers.size(); ++i) {
        together += group.readers[i].output.row(k);
        sum += group.value_bias(k) * group.value_bias(k) * noise.readers[i].output.row(k).sum();
      }
      sum += noise.value_bias(k) * together.squaredNorm();
    }
  }
  return sum;
}

bool constants_agree(const StoredAttention& a, const StoredAttention& b) {
  const Index terms = a.config.heads * a.config.value_width;
  const double limit = ratio_limit(terms, std::max(storage_unit(a), storage_unit(b)));
  const double apart = (output_at_zero(a) - output_at_zero(b)).squaredNorm();
  return apart <= limit * limit * (variance_at_zero(a) + variance_at_zero(b));
}

// By how much the output may move when every stored weight moves within its rounding, in one draw.
Matrix<double> drawn_noise(const StoredAttention& module, const Matrix<double>& input, Random& random) {
  const Index width = std::max(module.config.key_width, module.config.value_width);
  const double allowance = arithmetic_allowance(width, storage_unit(module));
  return attend(module.config, perturbed(module, allowance, random), input) -
         attend(module.config, module.weights, input);
}

std::string failure(const char* what, Index head, Index image) {
  return std::string("the ") + what + " circuit of head " + std::to_string(head) +
         " of A is not that of head " + std::to_string(image) + " of B within rounding";
}

// A stated inverse is only near the true one in general; for an exact gauge their product is the identity bit
// for bit.
bool is_exact(const Affine<double>& gauge) {
  const Matrix<double> identity = Matrix<double>::Identity(gauge.linear.size(), gauge.linear.size());
  return gauge.linear.matrix() * gauge.linear.inverse_matrix() == identity &&
         gauge.linear.inverse_matrix() * gauge.linear.matrix() == identity && gauge.shift.isZero(0);
}

bool is_exact(const AttentionElement<double>& element) {
  return std::all_of(element.local.begin(), element.local.end(), [](const GroupMove<double>& move) {
    return is_exact(qk_gauge(move)) && is_exact(vo_gauge(move));
  });
}

std::optional<std::string> refute_membership(const StoredAttention& a, const StoredAttention& b,
                                             const AttentionElement<double>& b_from_a) {
  require_fits(a.weights, a.config);
  require_fits(b.weights, b.config);
  if (!(a.config == b.config)) return "the modules have different shapes";
  if (!symmetry_of(a.config).contains(b_from_a)) return "the transport is not in the group of these modules";
  return std::nullopt;
}

}  // namespace

std::optional<std::string> refute_identity(const StoredAttention& a, const StoredAttention& b,
                                           const AttentionElement<double>& b_from_a) {
  const StoredAttention from = with_all_biases(a);
  const StoredAttention to = with_all_biases(b);
  if (const auto reason = refute_membership(from, to, b_from_a)) return reason;
  if (!is_exact(b_from_a)) return "the transport is not made of exact gauges";
  const bool both_ways =
      act(b_from_a, from.weights) == to.weights && act(inverse(b_from_a), to.weights) == from.weights;
  if (both_ways) return std::nullopt;
  return "the transport does not carry the weights of A exactly onto those of B";
}

std::optional<std::string> refute_equivalence(const StoredAttention& a, const StoredAttention& b,
                                              const AttentionElement<double>& b_from_a) {
  const StoredAttention from = with_all_biases(a);
  const StoredAttention to = with_all_biases(b);
  if (const auto reason = refute_membership(from, to, b_from_a)) return reason;
  const AttentionWeights<double> moved = act(b_from_a, from.weights);
  const Permutation image = head_image(b_from_a);
  for (Index head = 0; head < image.size(); ++head) {
    const bool qk = circuit_holds(stored_qk_circuit(from, head), qk_circuit(to.config, moved, image(head)),
                                  stored_qk_circuit(to, image(head)));
    if (!qk) return failure("QK", head, image(head));
    const bool vo = circuit_holds(stored_vo_circuit(from, head), vo_circuit(to.config, moved, image(head)),
                                  stored_vo_circuit(to, image(head)));
    if (!vo) return failure("OV", head, image(head));
  }
  if (!constants_agree(from, to)) return "the constant outputs differ by more than rounding";
  return std::nullopt;
}

double evidence_resolution(const StoredAttention& a, const StoredAttention& b,
                           const AttentionElement<double>& b_from_a) {
  const Permutation image = head_image(b_from_a);
  const StoredAttention from = with_all_biases(a);
  const StoredAttention to = with_all_biases(b);
  double worst = 0;
  double scale = output_at_zero(from).norm();
  for (Index head = 0; head < image.size(); ++head) {
    const CircuitComparison qk = compare(stored_qk_circuit(from, head), stored_qk_circuit(to, image(head)));
    const CircuitComparison vo = compare(stored_vo_circuit(from, head), stored_vo_circuit(to, image(head)));
    if (!std::isfinite(qk.hidden_difference() + vo.hidden_difference()))
      return std::numeric_limits<double>::infinity();
    worst = std::max({worst, qk.hidden_difference(), vo.hidden_difference()});
    scale = std::max(scale, vo.norm);
  }
  const ConstantComparison constant = compare_constants(from, to);
  return std::max(worst, scale > 0 ? constant.hidden_difference() / scale : 0);
}

std::optional<std::string> refute_witness(const StoredAttention& a, const StoredAttention& b,
                                          const Matrix<double>& input) {
  constexpr int draws = 8;
  constexpr std::uint64_t seed = 0x636865636b6572;  // the checker's own: no certificate can choose its noise
  if (input.rows() < 3) return "a witness needs at least three tokens";
  if (!input.allFinite()) return "the witness is not finite";
  const Matrix<double> output_a = attend(a.config, a.weights, input);
  const Matrix<double> output_b = attend(b.config, b.weights, input);
  const double arithmetic = 1e-13 * (output_a.norm() + output_b.norm());
  Random random(seed);
  double noise = 0;
  for (int draw = 0; draw < draws; ++draw) {
    noise = std::max(noise, (drawn_noise(a, input, random) - drawn_noise(b, input, random)).norm());
  }
  const double gap = (output_a - output_b).norm();
  if (std::isfinite(gap) && gap >= witness_factor_to_accept * (noise + arithmetic) && gap > 0)
    return std::nullopt;
  return "the witness does not separate the modules: their outputs are " +
         std::to_string(gap / (noise + arithmetic)) + " times the rounding noise apart";
}

}  // namespace attnsym
