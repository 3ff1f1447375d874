#include "verify/certificate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "symmetry/symmetry_group.hpp"
#include "verify/attend.hpp"
#include "verify/enclosure.hpp"
#include "verify/rounding.hpp"

namespace attnsym {
namespace {

using Refutation = std::optional<std::string>;

constexpr Index block_rows = 256;  // of a D x D product held at a time

// Sums over the entries of a difference of circuits and of its variance, by row and by column.
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

// N7 entry by entry: V_pq = sum_k var(L_pk) R_qk^2 + L_pk^2 var(R_qk), an error of radius r has variance r^2
// / 3.
Matrix<double> variance_rows(const StoredCircuit& c, Index begin, Index count) {
  return (product_rows(c.radius.left.cwiseAbs2(), c.value.right.cwiseAbs2(), begin, count) +
          product_rows(c.value.left.cwiseAbs2(), c.radius.right.cwiseAbs2(), begin, count)) /
         3;
}

bool within(const RowVector<double>& difference, const RowVector<double>& variance, double limit) {
  // An overflow proves nothing.
  if (!std::isfinite(difference.sum()) || !std::isfinite(variance.sum())) return false;
  return (difference.array() <= limit * limit * variance.array()).all() &&
         difference.sum() <= limit * limit * variance.sum();
}

// Whether a circuit that should be both a and b is b within the rounding of a and b. All three at b's
// exponent.
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
  const Index inner = std::max(a.value.left.cols(), b.value.left.cols());
  const double limit = ratio_limit(inner, std::max(effective_unit(a), effective_unit(b)));
  return within(difference.rows, variance.rows, limit) && within(difference.columns, variance.columns, limit);
}

bool same_circuit(const StoredCircuit& a, const StoredCircuit& b) {
  const int exponent = std::max(a.exponent, b.exponent);
  const StoredCircuit x = at_exponent(a, exponent);
  return agrees(x.value, x, at_exponent(b, exponent));
}

// The circuit of A against that of B, and twice with one factor transported.
bool circuit_holds(const StoredCircuit& a, const StoredCircuit& b, const Circuit<double>& moved_factors,
                   const Circuit<double>& b_factors) {
  if (!same_circuit(a, b)) return false;
  const auto mixed_agrees = [&](const Matrix<double>& left, const Matrix<double>& right) {
    const Circuit<double> none{Matrix<double>::Zero(left.rows(), left.cols()),
                               Matrix<double>::Zero(right.rows(), right.cols())};
    const StoredCircuit mixed = normalized({left, right}, none);
    const int exponent = std::max({a.exponent, b.exponent, mixed.exponent});
    return agrees(value_at_exponent(mixed, exponent), at_exponent(a, exponent), at_exponent(b, exponent));
  };
  return mixed_agrees(moved_factors.left, b_factors.right) &&
         mixed_agrees(b_factors.left, moved_factors.right);
}

// What the module puts out for the token zero alone, and the variance of that, from the definitions N1 and
// N7.
RowVector<double> output_at_zero(const StoredAttention& module) {
  return attend(module.config, module.weights,
                Matrix<double>(Matrix<double>::Zero(1, module.config.model_width)));
}

double variance_at_zero(const StoredAttention& module) {
  double sum = module.radius.output_bias.squaredNorm();
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    const KvGroup<double>& group = module.weights.groups[j];
    const KvGroup<double>& radius = module.radius.groups[j];
    for (Index k = 0; k < module.config.value_width; ++k) {
      RowVector<double> together = RowVector<double>::Zero(module.config.model_width);
      for (std::size_t i = 0; i < group.readers.size(); ++i) {
        together += group.readers[i].output.row(k);
        sum += (group.value_bias(k) * radius.readers[i].output.row(k)).squaredNorm();
      }
      sum += (radius.value_bias(k) * together).squaredNorm();
    }
  }
  return sum / 3;
}

// Whether every entry of the output at zero is within its worst case times the allowance for arithmetic.
bool entries_at_zero_agree(const StoredAttention& a, const StoredAttention& b, double allowance) {
  const Matrix<double> zero = Matrix<double>::Zero(1, a.config.model_width);
  const Enclosure x = enclose_attend(a, zero);
  const Enclosure y = enclose_attend(b, zero);
  return ((x.center - y.center).array().abs() <= allowance * (x.radius + y.radius).array()).all();
}

bool constants_agree(const StoredAttention& a, const StoredAttention& b) {
  const Index terms = std::max(a.config.heads * a.config.value_width, b.config.heads * b.config.value_width);
  const double limit = ratio_limit(terms, std::max(storage_unit(a), storage_unit(b)));
  const double apart = (output_at_zero(a) - output_at_zero(b)).squaredNorm();
  const double variance = variance_at_zero(a) + variance_at_zero(b);
  if (!std::isfinite(apart) || !std::isfinite(variance)) return false;
  return apart <= limit * limit * variance && entries_at_zero_agree(a, b, limit / 2);
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

Refutation refute_membership(const StoredAttention& a, const StoredAttention& b,
                             const AttentionElement<double>& b_from_a) {
  if (!(a.config == b.config)) return "the modules have different shapes";
  if (!symmetry_of(a.config).contains(b_from_a)) return "the transport is not in the group of these modules";
  return std::nullopt;
}

Refutation refute(const StoredAttention& a, const StoredAttention& b,
                  const AttentionElement<double>& b_from_a) {
  if (auto reason = refute_membership(a, b, b_from_a)) return reason;
  const AttentionWeights<double> moved = act(b_from_a, a.weights);
  const Permutation image = head_image(b_from_a);
  for (Index head = 0; head < image.size(); ++head) {
    const Index to = image(head);
    const bool qk = circuit_holds(stored_qk_circuit(a, head), stored_qk_circuit(b, to),
                                  qk_circuit(b.config, moved, to), qk_circuit(b.config, b.weights, to));
    if (!qk) return failure("QK", head, to);
    const bool vo = circuit_holds(stored_vo_circuit(a, head), stored_vo_circuit(b, to),
                                  vo_circuit(b.config, moved, to), vo_circuit(b.config, b.weights, to));
    if (!vo) return failure("OV", head, to);
  }
  return std::nullopt;
}

// One class: the QK circuits are all that of the first head, and the OV circuits have equal sums.
Refutation refute(const StoredAttention& a, const StoredAttention& b, const HeadClass& heads) {
  std::vector<StoredCircuit> qk;
  for (const Index head : heads.a) qk.push_back(stored_qk_circuit(a, head));
  for (const Index head : heads.b) qk.push_back(stored_qk_circuit(b, head));
  for (const StoredCircuit& circuit : qk) {
    if (!same_circuit(circuit, qk.front()))
      return "the QK circuits of " + describe(heads) + " are not the same within rounding";
  }
  if (same_circuit(stored_vo_sum(a, heads.a), stored_vo_sum(b, heads.b))) return std::nullopt;
  return "the OV circuits of " + describe(heads) + " do not have equal sums within rounding";
}

Refutation refute(const StoredAttention& a, const StoredAttention& b, const HeadClasses& classes) {
  if (auto reason = refute_partition(a, b, classes)) return reason;
  for (const HeadClass& heads : classes) {
    if (auto reason = refute(a, b, heads)) return reason;
  }
  return std::nullopt;
}

// Largest hidden difference of matched circuits, and the size that a constant has to be compared with.
struct Hidden {
  double difference = 0;
  double scale = 0;

  void add(double hidden, double size) {
    difference =
        std::isfinite(hidden) ? std::max(difference, hidden) : std::numeric_limits<double>::infinity();
    scale = std::max(scale, size);
  }
};

Hidden hidden_by(const StoredAttention& a, const StoredAttention& b,
                 const AttentionElement<double>& b_from_a) {
  Hidden hidden;
  const Permutation image = head_image(b_from_a);
  for (Index head = 0; head < image.size(); ++head) {
    const CircuitComparison qk = compare(stored_qk_circuit(a, head), stored_qk_circuit(b, image(head)));
    const CircuitComparison vo = compare(stored_vo_circuit(a, head), stored_vo_circuit(b, image(head)));
    hidden.add(qk.hidden_difference(), 0);
    hidden.add(vo.hidden_difference(), vo.norm);
  }
  return hidden;
}

Hidden hidden_by(const StoredAttention& a, const StoredAttention& b, const HeadClasses& classes) {
  Hidden hidden;
  for (const HeadClass& heads : classes) {
    const ClassComparison compared = compare_class(a, b, heads);
    hidden.add(compared.hidden_difference(), compared.vo_scale);
  }
  return hidden;
}

}  // namespace

std::optional<std::string> refute_identity(const StoredAttention& a, const StoredAttention& b,
                                           const AttentionElement<double>& b_from_a) {
  const StoredAttention from = with_all_biases(a);
  const StoredAttention to = with_all_biases(b);
  if (auto reason = refute_membership(from, to, b_from_a)) return reason;
  if (!is_exact(b_from_a)) return "the transport is not made of exact gauges";
  const bool both_ways =
      act(b_from_a, from.weights) == to.weights && act(inverse(b_from_a), to.weights) == from.weights;
  if (both_ways) return std::nullopt;
  return "the transport does not carry the weights of A exactly onto those of B";
}

std::optional<std::string> refute_equivalence(const StoredAttention& a, const StoredAttention& b,
                                              const EqualityEvidence& evidence) {
  const StoredAttention from = with_all_biases(a);
  const StoredAttention to = with_all_biases(b);
  if (from.config.model_width != to.config.model_width) return "the modules have different widths";
  if (auto reason = std::visit([&](const auto& e) { return refute(from, to, e); }, evidence)) return reason;
  if (!constants_agree(from, to)) return "the constant outputs differ by more than rounding";
  return std::nullopt;
}

double evidence_resolution(const StoredAttention& a, const StoredAttention& b,
                           const EqualityEvidence& evidence) {
  const StoredAttention from = with_all_biases(a);
  const StoredAttention to = with_all_biases(b);
  const Hidden hidden = std::visit([&](const auto& e) { return hidden_by(from, to, e); }, evidence);
  const double scale = std::max(hidden.scale, output_at_zero(from).norm());
  const double constant = compare_constants(from, to).hidden_difference();
  return std::max(hidden.difference, scale > 0 ? constant / scale : 0);
}

std::optional<std::string> refute_witness(const StoredAttention& a, const StoredAttention& b,
                                          const Matrix<double>& input) {
  constexpr int draws = 8;
  constexpr std::uint64_t seed = 0x636865636b6572;  // the checker's own: no certificate can choose its noise
  if (input.rows() < 3) return "a witness needs at least three tokens";
  if (!input.allFinite()) return "the witness is not finite";
  const Witness witness = measure(with_all_biases(a), with_all_biases(b), input, draws, seed);
  if (separates(witness, witness_factor_to_accept)) return std::nullopt;
  if (witness.strength() >= witness_factor_to_accept)
    return "the witness does not separate the modules: rounding of the stored weights could make all of the "
           "gap";
  return "the witness does not separate the modules: their outputs are " +
         std::to_string(witness.strength()) + " times the rounding noise apart";
}

}  // namespace attnsym
