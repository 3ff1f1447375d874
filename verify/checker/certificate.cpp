#include "verify/checker/certificate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "symmetry/centred.hpp"
#include "symmetry/safe_norm.hpp"
#include "symmetry/symmetry_group.hpp"
#include "verify/checker/circuit_claims.hpp"
#include "verify/checker/gauge_kind.hpp"
#include "verify/checker/gauge_trial.hpp"
#include "verify/hashed_random.hpp"
#include "verify/rounding_law.hpp"
#include "verify/storage_error.hpp"
#include "verify/stored_factors.hpp"
#include "verify/stored_unit.hpp"

namespace attnsym {
namespace {

using Refutation = std::optional<std::string>;

// Slopes, sinks and tables, number by number: an error within its radius has a third of the square for
// variance.
bool same_offsets(const StoredOffsets& a, const StoredOffsets& b, double limit) {
  const Index length = std::max(a.value.size(), b.value.size()) - 2;
  const StoredOffsets of_a = extended(a, length);
  const StoredOffsets of_b = extended(b, length);
  const RowVector<double> apart = of_a.value - of_b.value;
  const RowVector<double> variances = (of_a.radius.cwiseAbs2() + of_b.radius.cwiseAbs2()) / 3;
  for (Index i = 0; i < apart.size(); ++i) {
    if (!(apart(i) * apart(i) <= limit * limit * variances(i))) return false;
  }
  return true;
}

bool same_each(const std::vector<StoredCircuit>& a, const std::vector<StoredCircuit>& b,
               const CircuitRules& rules) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same_circuits(as_terms(a[i], b[i]), rules)) return false;
  }
  return true;
}

// What decides a score beside its terms.
bool same_beside_terms(const StoredScores& a, const StoredScores& b, const CircuitRules& rules) {
  const double limit =
      ratio_limit(std::max(a.inner_width(), b.inner_width()), std::max(effective_unit(a), effective_unit(b)));
  return same_offsets(a.offsets, b.offsets, limit) && same_each(a.norms, b.norms, rules) &&
         same_each(a.gates, b.gates, rules);
}

bool same_scores(const StoredScores& a, const StoredScores& b, const CircuitRules& rules) {
  return same_beside_terms(a, b, rules) && same_circuits(paired_terms(a, b), rules);
}

// The circuits of A against those of B, and twice with one factor transported.
// @param moved, of_b  the factors of A carried over and those of B, term by term
bool circuits_hold(const std::vector<TermPair>& terms, const std::vector<Circuit<double>>& moved,
                   const std::vector<Circuit<double>>& of_b, const CircuitRules& rules) {
  if (!same_circuits(terms, rules)) return false;
  std::vector<CircuitClaim> left_moved;
  std::vector<CircuitClaim> right_moved;
  for (std::size_t t = 0; t < terms.size(); ++t) {
    const TermPair& term = terms[t];
    left_moved.push_back({term.harmonic, exact_product(moved[t].left, of_b[t].right), term.a, term.b});
    right_moved.push_back({term.harmonic, exact_product(of_b[t].left, moved[t].right), term.a, term.b});
  }
  return agree(left_moved, inner_width(terms), rules) && agree(right_moved, inner_width(terms), rules);
}

// The factors of a head's score terms, with a zero row where the key bias does not count.
std::vector<Circuit<double>> score_factors(const AttentionConfig& config,
                                           const AttentionWeights<double>& weights, Index head) {
  std::vector<Circuit<double>> factors;
  for (ScoreTerm<double>& term : score_terms(config, weights, head)) {
    if (term.circuit.right.rows() == config.model_width)
      term.circuit.right = homogeneous(term.circuit.right, RowVector<double>());
    factors.push_back(std::move(term.circuit));
  }
  return factors;
}

std::vector<Circuit<double>> output_factors(const AttentionConfig& config,
                                            const AttentionWeights<double>& weights, Index head) {
  Circuit<double> factors = vo_circuit(config, weights, head);
  if (factors.left.rows() == config.model_width)
    factors.left = homogeneous(factors.left, RowVector<double>());
  return {factors};
}

// What the module puts out for the token zero alone, which attends to itself with weight 1 whatever its
// score: c = bo + sum_i bv O_i, by the definitions N1 and N7. Beside sinks and gates value biases are judged
// with the OV circuits.
struct Constant {
  RowVector<double> value;
  RowVector<double> radius;  // the worst case, entry by entry
  double variance = 0;       // added up over the entries
  double unit = 0;           // of the numbers that it is made of
};

void add_readers(Constant& constant, const KvGroup<double>& group, const KvGroup<double>& error) {
  const RowVector<double>& bias = group.value_bias;
  if (bias.size() == 0 || group.readers.empty()) return;
  const RowVector<double> bias_size = bias.cwiseAbs();
  const RowVector<double> bias_radius = error.value_bias;
  Matrix<double> together = group.readers.front().output;
  for (std::size_t i = 0; i < group.readers.size(); ++i) {
    const Matrix<double>& output = group.readers[i].output;
    const Matrix<double>& radius = error.readers[i].output;
    if (i > 0) together += output;
    // Adding up in double is wrong by much less than this.
    const double rounding = 4 * std::numeric_limits<double>::epsilon() * static_cast<double>(bias.size());
    constant.value += bias * output;
    constant.radius +=
        (bias_radius + rounding * bias_size) * output.cwiseAbs() + (bias_size + bias_radius) * radius;
    constant.variance += bias.cwiseAbs2().dot(radius.rowwise().squaredNorm().transpose()) / 3;
  }
  constant.variance += bias_radius.cwiseAbs2().dot(together.rowwise().squaredNorm().transpose()) / 3;
}

Constant constant_at_zero(const StoredAttention& module) {
  const AttentionWeights<double>& weights = module.weights;
  const AttentionWeights<double>& radius = module.radius;
  Constant constant{weights.output_bias, radius.output_bias, radius.output_bias.squaredNorm() / 3, 0};
  if (constant.value.size() == 0)
    constant.value = constant.radius = RowVector<double>::Zero(module.config.model_width);
  double size = safe_norm(weights.output_bias);
  double error = safe_norm(radius.output_bias);
  for (std::size_t j = 0; !module.config.value_bias_counts() && j < weights.groups.size(); ++j) {
    add_readers(constant, weights.groups[j], radius.groups[j]);
    size = std::hypot(size, safe_norm(weights.groups[j].value_bias));
    error = std::hypot(error, safe_norm(radius.groups[j].value_bias));
    for (std::size_t i = 0; i < weights.groups[j].readers.size(); ++i) {
      size = std::hypot(size, safe_norm(weights.groups[j].readers[i].output));
      error = std::hypot(error, safe_norm(radius.groups[j].readers[i].output));
    }
  }
  constant.unit = stored_unit(size, error);
  return constant;
}

double constant_limit(const StoredAttention& a, const Constant& of_a, const StoredAttention& b,
                      const Constant& of_b) {
  const Index terms = std::max(a.config.heads * a.config.value_width, b.config.heads * b.config.value_width);
  return ratio_limit(terms, std::max(of_a.unit, of_b.unit));
}

// Whether every entry of the output at zero is within its worst case times the allowance for arithmetic.
// Arithmetic is as wrong as the sums are large on the way, and these are as large as the others' results.
bool entries_at_zero_agree(const Constant& a, const Constant& b, double allowance) {
  const RowVector<double> radius = a.radius + b.radius;
  const double typical = radius.norm() / std::sqrt(static_cast<double>(std::max<Index>(radius.size(), 1)));
  const double arithmetic = std::sqrt(std::max(allowance * allowance - 1, 0.0));
  return ((a.value - b.value).array().abs() <= allowance * radius.array() + arithmetic * typical).all();
}

bool has_no_constant(const StoredAttention& module) {
  const auto vanish = [](const AttentionWeights<double>& w) {
    return w.output_bias.isZero(0) && std::all_of(w.groups.begin(), w.groups.end(),
                                                  [](const auto& g) { return g.value_bias.isZero(0); });
  };
  return vanish(module.weights) && vanish(module.radius);
}

bool constants_agree(const StoredAttention& a, const StoredAttention& b) {
  if (has_no_constant(a) && has_no_constant(b)) return true;
  const Constant of_a = constant_at_zero(a);
  const Constant of_b = constant_at_zero(b);
  const double limit = constant_limit(a, of_a, b, of_b);
  const double apart = (of_a.value - of_b.value).squaredNorm();
  const double variance = of_a.variance + of_b.variance;
  if (!std::isfinite(apart) || !std::isfinite(variance)) return false;
  return apart <= limit * limit * variance && entries_at_zero_agree(of_a, of_b, limit / 2);
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

Refutation refute_membership(const AttentionConfig& a, const AttentionConfig& b,
                             const AttentionElement<double>& b_from_a) {
  if (!(a == b)) return "the modules have different shapes";
  if (!symmetry_of(a).contains(b_from_a)) return "the transport is not in the group of these modules";
  return std::nullopt;
}

// What a transport has to commute with if norms are compared by themselves: it carries queries and keys with
// their gains, and biases of normalised keys are not free.
AttentionConfig without_norms(AttentionConfig config) {
  if (config.qk_norm) config.key_bias = false;
  config.qk_norm.reset();
  return config;
}

// All but the circuits: what heads add whatever the tokens, what their scores are divided by, and gates.
Refutation refute_frame(const StoredAttention& a, const StoredAttention& b,
                        const AttentionElement<double>& b_from_a) {
  if (!(a.config == b.config)) return "the modules have different shapes";
  if (auto reason = refute_membership(without_norms(a.config), without_norms(b.config), b_from_a))
    return reason;
  const CircuitRules rules = circuit_rules(a, b);
  const Permutation image = head_image(b_from_a);
  const bool plain = !a.config.qk_norm && !a.config.output_gate;
  for (Index head = 0; head < image.size(); ++head) {
    const Index to = image(head);
    if (plain && stored_offsets(a, head).value == stored_offsets(b, to).value) continue;
    if (!same_beside_terms(stored_scores(a, head), stored_scores(b, to), rules))
      return failure("QK", head, to);
  }
  return std::nullopt;
}

// Which circuits of one kind a GaugeTrial of the stated change of basis has accepted, by heads of A: as
// certain as one by one, for less work.
std::vector<bool> accepted_by_trial(const StoredAttention& a, const StoredAttention& b,
                                    const AttentionElement<double>& b_from_a, const GaugeKind& kind,
                                    const Affine<double>& (*gauge)(const GroupMove<double>&)) {
  std::vector<bool> accepted(static_cast<std::size_t>(a.config.heads), false);
  if (a.config.output_gate) return accepted;  // a trial knows none
  const CircuitRules rules = circuit_rules(a, b);
  const Permutation image = head_image(b_from_a);
  const Index readers = a.config.readers_per_group();
  for (Index j = 0; j < a.config.groups; ++j) {
    const GeneralLinear<double>& linear = gauge(b_from_a.local[static_cast<std::size_t>(j)]).linear;
    const GaugeTrial trial(written_factor(kind, a, j), written_factor(kind, b, image(readers * j) / readers),
                           linear, kind.blocks, kind.factors, rules);
    for (Index head = readers * j; head < readers * (j + 1); ++head)
      accepted[head] = trial.holds(kind.reading(a, head), kind.reading(b, image(head)));
  }
  return accepted;
}

// Circuits that no trial has accepted, one by one.
Refutation refute_circuits(const StoredAttention& a, const StoredAttention& b,
                           const AttentionElement<double>& b_from_a, const std::vector<bool>& same_qk,
                           const std::vector<bool>& same_vo) {
  const CircuitRules rules = circuit_rules(a, b);
  const AttentionWeights<double> of_b = with_gains(b);
  const AttentionWeights<double> moved = act(b_from_a, with_gains(a));
  const Permutation image = head_image(b_from_a);
  for (Index head = 0; head < image.size(); ++head) {
    const Index to = image(head);
    if (!same_qk[head] &&
        !circuits_hold(paired_terms(stored_scores(a, head), stored_scores(b, to)),
                       score_factors(b.config, moved, to), score_factors(b.config, of_b, to), rules))
      return failure("QK", head, to);
    if (!same_vo[head] &&
        !circuits_hold(as_terms(stored_vo_circuit(a, head), stored_vo_circuit(b, to)),
                       output_factors(b.config, moved, to), output_factors(b.config, b.weights, to), rules))
      return failure("OV", head, to);
  }
  return std::nullopt;
}

Refutation refute(const StoredAttention& a, const StoredAttention& b,
                  const AttentionElement<double>& b_from_a) {
  if (auto reason = refute_frame(a, b, b_from_a)) return reason;
  const std::vector<bool> same_qk = accepted_by_trial(a, b, b_from_a, qk_kind(a.config), qk_gauge);
  const std::vector<bool> same_vo = accepted_by_trial(a, b, b_from_a, vo_kind(a.config), vo_gauge);
  const auto all = [](const std::vector<bool>& same) { return std::ranges::count(same, false) == 0; };
  if (all(same_qk) && all(same_vo)) return std::nullopt;
  return refute_circuits(a, b, b_from_a, same_qk, same_vo);
}

// Every head of a module occurs in exactly one class.
bool covers(const HeadClasses& classes, std::vector<Index> HeadClass::*side, Index heads) {
  std::vector<Index> found;
  for (const HeadClass& one : classes) found.insert(found.end(), (one.*side).begin(), (one.*side).end());
  std::sort(found.begin(), found.end());
  std::vector<Index> all(static_cast<std::size_t>(heads));
  std::iota(all.begin(), all.end(), 0);
  return found == all;
}

// [N3] Whether these can be classes of heads whose sums decide: all heads once; with different masks,
// softcaps or sinks no class has heads of both modules; a norm over all heads sees how many of every kind
// there are.
Refutation refute_classes(const StoredAttention& a, const StoredAttention& b, const HeadClasses& classes) {
  if (!covers(classes, &HeadClass::a, a.config.heads) || !covers(classes, &HeadClass::b, b.config.heads))
    return "the classes do not contain every head exactly once";
  const auto counts_heads = [](const AttentionConfig& c) { return c.qk_norm && c.qk_norm->over_all_heads; };
  const bool counted = counts_heads(a.config) || counts_heads(b.config);
  for (const HeadClass& heads : classes) {
    if (heads.a.empty() && heads.b.empty()) return "a class has no heads";
    if (!a.config.scores_like(b.config) && !heads.a.empty() && !heads.b.empty())
      return "heads with different masks, softcaps, sinks or gates have no circuit in common";
    if (counted && heads.a.size() != heads.b.size())
      return "a norm over all heads sees how many heads of every kind there are";
  }
  return std::nullopt;
}

// One class: the scores are all those of the first head, and the OV circuits have equal sums.
Refutation refute(const StoredAttention& a, const StoredAttention& b, const HeadClass& heads) {
  const CircuitRules rules = circuit_rules(a, b);
  std::vector<StoredScores> scores;
  for (const Index head : heads.a) scores.push_back(stored_scores(a, head));
  for (const Index head : heads.b) scores.push_back(stored_scores(b, head));
  for (std::size_t i = 1; i < scores.size(); ++i) {
    if (!same_scores(scores[i], scores.front(), rules))
      return "the QK circuits of " + describe(heads) + " are not the same within rounding";
  }
  if (same_circuits(as_terms(stored_vo_sum(a, heads.a), stored_vo_sum(b, heads.b)), rules))
    return std::nullopt;
  return "the OV circuits of " + describe(heads) + " do not have equal sums within rounding";
}

Refutation refute(const StoredAttention& a, const StoredAttention& b, const HeadClasses& classes) {
  if (auto reason = refute_classes(a, b, classes)) return reason;
  for (const HeadClass& heads : classes) {
    if (auto reason = refute(a, b, heads)) return reason;
  }
  return std::nullopt;
}

// Largest relative difference of matched circuits that could be hidden, and the size that a constant has to
// be compared with.
struct Hidden {
  double relative = 0;
  long double scale = 0;

  void add(const HiddenSize& size) { relative = std::max(relative, size.relative()); }
  void add_scores(const StoredScores& x, const StoredScores& y) {
    add(hidden_size(paired_terms(x, y)));
    for (std::size_t i = 0; i < std::min(x.norms.size(), y.norms.size()); ++i)
      add(hidden_size(as_terms(x.norms[i], y.norms[i])));
  }
};

Hidden hidden_by(const StoredAttention& a, const StoredAttention& b,
                 const AttentionElement<double>& b_from_a) {
  Hidden hidden;
  const Permutation image = head_image(b_from_a);
  for (Index head = 0; head < image.size(); ++head) {
    hidden.add_scores(stored_scores(a, head), stored_scores(b, image(head)));
    const HiddenSize vo =
        hidden_size(as_terms(stored_vo_circuit(a, head), stored_vo_circuit(b, image(head))));
    hidden.add(vo);
    hidden.scale = std::max(hidden.scale, vo.norm);
  }
  return hidden;
}

// Sums of OV circuits may vanish where their members do not: what they hide counts relative to the largest
// member.
Hidden hidden_by(const StoredAttention& a, const StoredAttention& b, const HeadClasses& classes) {
  Hidden hidden;
  for (const HeadClass& heads : classes) {
    std::vector<StoredScores> scores;
    long double member = 0;
    const auto note = [&](const StoredAttention& module, const std::vector<Index>& side) {
      for (const Index head : side) {
        scores.push_back(stored_scores(module, head));
        const StoredCircuit vo = stored_vo_circuit(module, head);
        member = std::max(member, hidden_size(as_terms(vo, vo)).norm);
      }
    };
    note(a, heads.a);
    note(b, heads.b);
    for (std::size_t i = 1; i < scores.size(); ++i) hidden.add_scores(scores.front(), scores[i]);
    HiddenSize sums = hidden_size(as_terms(stored_vo_sum(a, heads.a), stored_vo_sum(b, heads.b)));
    sums.norm = member;
    hidden.add(sums);
    hidden.scale = std::max(hidden.scale, member);
  }
  return hidden;
}

}  // namespace

std::optional<std::string> refute_identity(const StoredAttention& a, const StoredAttention& b,
                                           const AttentionElement<double>& b_from_a) {
  const StoredAttention from = with_all_biases(a);
  const StoredAttention to = with_all_biases(b);
  if (auto reason = refute_membership(from.config, to.config, b_from_a)) return reason;
  if (!is_exact(b_from_a)) return "the transport is not made of exact gauges";
  const bool both_ways =
      act(b_from_a, from.weights) == to.weights && act(inverse(b_from_a), to.weights) == from.weights;
  if (both_ways) return std::nullopt;
  return "the transport does not carry the weights of A exactly onto those of B";
}

namespace {

// @pre both as inputs see them, here and below
Refutation refute_seen(const StoredAttention& from, const StoredAttention& to,
                       const EqualityEvidence& evidence) {
  if (from.config.model_width != to.config.model_width) return "the modules have different widths";
  if (auto reason = std::visit([&](const auto& e) { return refute(from, to, e); }, evidence)) return reason;
  if (!constants_agree(from, to)) return "the constant outputs differ by more than rounding";
  return std::nullopt;
}

double resolution_of_seen(const StoredAttention& from, const StoredAttention& to,
                          const EqualityEvidence& evidence) {
  const Hidden hidden = std::visit([&](const auto& e) { return hidden_by(from, to, e); }, evidence);
  const Constant of_a = constant_at_zero(from);
  const Constant of_b = constant_at_zero(to);
  const long double scale = std::max<long double>(hidden.scale, of_a.value.norm());
  const double constant = std::sqrt(of_a.variance + of_b.variance) * constant_limit(from, of_a, to, of_b) / 2;
  return std::max(hidden.relative, scale > 0 ? static_cast<double>(constant / scale) : 0);
}

}  // namespace

std::optional<std::string> refute_equivalence(const StoredAttention& a, const StoredAttention& b,
                                              const EqualityEvidence& evidence) {
  return refute_seen(as_seen(a), as_seen(b), evidence);
}

CheckedEquivalence check_equivalence(StoredAttention a, StoredAttention b, const EqualityEvidence& evidence) {
  const StoredAttention from = as_seen(std::move(a));
  const StoredAttention to = as_seen(std::move(b));
  CheckedEquivalence checked{refute_seen(from, to, evidence)};
  if (!checked.refutation) checked.resolution = resolution_of_seen(from, to, evidence);
  return checked;
}

std::optional<std::string> refute_beside_circuits(const StoredAttention& a, const StoredAttention& b,
                                                  const AttentionElement<double>& b_from_a) {
  if (auto reason = refute_frame(a, b, b_from_a)) return reason;
  if (!constants_agree(a, b)) return "the constant outputs differ by more than rounding";
  return std::nullopt;
}

std::optional<std::string> refute_witness(const StoredAttention& a, const StoredAttention& b,
                                          const Matrix<double>& input) {
  constexpr int draws = 8;
  if (input.rows() < 3) return "a witness needs at least three tokens";
  if (!input.allFinite()) return "the witness is not finite";
  if (a.config.centred_inputs && !is_centred(input)) return "the witness is not centred";
  // The checker's own: neither files nor a witness can be made to suit its noise.
  HashedRandom noise(0, "noise of a witness, checked",
                     {digest_of(a), digest_of(b), Hasher().add_all(input).digest()});
  const Witness witness = measure(with_all_biases(a), with_all_biases(b), input, draws, noise.bits());
  if (separates(witness, witness_factor_to_accept)) return std::nullopt;
  if (witness.strength() >= witness_factor_to_accept)
    return "the witness does not separate the modules: rounding of the stored weights could make all of the "
           "gap";
  return "the witness does not separate the modules: their outputs are " +
         std::to_string(witness.strength()) + " times the rounding noise apart";
}

}  // namespace attnsym
