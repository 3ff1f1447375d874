#include "verify/checker/certificate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "symmetry/centred.hpp"
#include "symmetry/symmetry_group.hpp"
#include "verify/attend.hpp"
#include "verify/constant.hpp"
#include "verify/enclosure.hpp"
#include "verify/hashed_random.hpp"
#include "verify/rounding.hpp"
#include "verify/stored_factors.hpp"

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

// A product that should be both stored circuits: terms of one score, or the OV circuit at frequency 0.
struct Claim {
  double frequency;
  StoredCircuit product;
  StoredCircuit a;
  StoredCircuit b;
};

StoredCircuit exact_product(const Matrix<double>& left, const Matrix<double>& right) {
  return normalized({left, right}, {Matrix<double>::Zero(left.rows(), left.cols()),
                                    Matrix<double>::Zero(right.rows(), right.cols())});
}

double unit_of(const std::vector<Claim>& claims) {
  double unit = 0;
  for (const Claim& claim : claims) unit = std::max({unit, effective_unit(claim.a), effective_unit(claim.b)});
  return unit;
}

// How far a product is from b, and what rounding a and b explains, entry by entry.
struct Judged {
  Squares difference;
  Squares variance;
};

Judged judged(const Claim& claim, int exponent) {
  const Circuit<double> product = value_at_exponent(claim.product, exponent);
  const StoredCircuit a = at_exponent(claim.a, exponent);
  const StoredCircuit b = at_exponent(claim.b, exponent);
  Judged result{zero_squares(b), zero_squares(b)};
  for (Index begin = 0; begin < b.value.left.rows(); begin += block_rows) {
    const Index count = std::min(block_rows, b.value.left.rows() - begin);
    const Matrix<double> apart = product_rows(product.left, product.right, begin, count) -
                                 product_rows(b.value.left, b.value.right, begin, count);
    add_block(result.difference, apart.cwiseAbs2(), begin);
    add_block(result.variance, variance_rows(a, begin, count) + variance_rows(b, begin, count), begin);
  }
  return result;
}

void add(Squares& sum, const Squares& term) {
  sum.rows += term.rows;
  sum.columns += term.columns;
}

void add(Judged& sum, const Judged& term) {
  add(sum.difference, term.difference);
  add(sum.variance, term.variance);
}

// Whether products that should be both a and b are b within the rounding of a and b: every frequency in
// total, and row by row and column by column over all of them.
bool agree(const std::vector<Claim>& claims, Index inner) {
  int exponent = claims.front().b.exponent;
  for (const Claim& claim : claims)
    exponent = std::max({exponent, claim.a.exponent, claim.b.exponent, claim.product.exponent});
  const double limit = ratio_limit(inner, unit_of(claims));
  const Judged none{zero_squares(claims.front().b), zero_squares(claims.front().b)};
  Judged all = none;
  for (auto claim = claims.begin(); claim != claims.end();) {
    const double frequency = claim->frequency;
    Judged one = none;
    for (; claim != claims.end() && claim->frequency == frequency; ++claim)
      add(one, judged(*claim, exponent));
    if (!(one.difference.rows.sum() <= limit * limit * one.variance.rows.sum())) return false;
    add(all, one);
  }
  return within(all.difference.rows, all.variance.rows, limit) &&
         within(all.difference.columns, all.variance.columns, limit);
}

// The terms of two scores, or two OV circuits as the only term.
using Terms = std::vector<TermPair>;

Terms terms_of(const StoredCircuit& a, const StoredCircuit& b) { return {{{}, a, b}}; }

Index inner_width(const Terms& terms) {
  Index of_a = 0;
  Index of_b = 0;
  for (const TermPair& term : terms) {
    if (term.harmonic.sine) continue;
    of_a += term.a.value.left.cols();
    of_b += term.b.value.left.cols();
  }
  return std::max(of_a, of_b);
}

bool same_circuits(const Terms& terms) {
  std::vector<Claim> claims;
  for (const TermPair& term : terms) claims.push_back({term.harmonic.frequency, term.a, term.a, term.b});
  return agree(claims, inner_width(terms));
}

// Slopes, sinks and tables, number by number: an error within its radius has a third of the square for
// variance.
bool same_offsets(const StoredScores& a, const StoredScores& b) {
  const double limit =
      ratio_limit(std::max(a.inner_width(), b.inner_width()), std::max(effective_unit(a), effective_unit(b)));
  const Index length = std::max(a.offsets.value.size(), b.offsets.value.size()) - 2;
  const StoredOffsets of_a = extended(a.offsets, length);
  const StoredOffsets of_b = extended(b.offsets, length);
  const RowVector<double> apart = of_a.value - of_b.value;
  const RowVector<double> variances = (of_a.radius.cwiseAbs2() + of_b.radius.cwiseAbs2()) / 3;
  for (Index i = 0; i < apart.size(); ++i) {
    if (!(apart(i) * apart(i) <= limit * limit * variances(i))) return false;
  }
  return true;
}

bool same_each(const std::vector<StoredCircuit>& a, const std::vector<StoredCircuit>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same_circuits(terms_of(a[i], b[i]))) return false;
  }
  return true;
}

bool same_norms(const StoredScores& a, const StoredScores& b) { return same_each(a.norms, b.norms); }
bool same_gates(const StoredScores& a, const StoredScores& b) { return same_each(a.gates, b.gates); }

bool same_scores(const StoredScores& a, const StoredScores& b) {
  return same_offsets(a, b) && same_norms(a, b) && same_gates(a, b) && same_circuits(paired_terms(a, b));
}

// The circuits of A against those of B, and twice with one factor transported.
// @param moved, of_b  the factors of A carried over and those of B, term by term
bool circuits_hold(const Terms& terms, const std::vector<Circuit<double>>& moved,
                   const std::vector<Circuit<double>>& of_b) {
  if (!same_circuits(terms)) return false;
  std::vector<Claim> left_moved;
  std::vector<Claim> right_moved;
  for (std::size_t t = 0; t < terms.size(); ++t) {
    const TermPair& term = terms[t];
    left_moved.push_back(
        {term.harmonic.frequency, exact_product(moved[t].left, of_b[t].right), term.a, term.b});
    right_moved.push_back(
        {term.harmonic.frequency, exact_product(of_b[t].left, moved[t].right), term.a, term.b});
  }
  return agree(left_moved, inner_width(terms)) && agree(right_moved, inner_width(terms));
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

// A module for one token, whose attention to itself is 1 whatever its score: norms, which may divide zero by
// zero, are taken away.
StoredAttention for_one_token(StoredAttention module) {
  module.config.qk_norm.reset();
  clear_gains(module.weights);
  clear_gains(module.radius);
  return module;
}

// What the module puts out for the token zero alone, and the variance of that, from the definitions N1 and
// N7. Beside sinks and gates that is not constant, and value biases are judged with the OV circuits.
RowVector<double> output_at_zero(const StoredAttention& module) {
  if (module.config.value_bias_counts()) return module.weights.output_bias;
  const StoredAttention one = for_one_token(module);
  return attend(one.config, one.weights, Matrix<double>(Matrix<double>::Zero(1, one.config.model_width)));
}

double variance_at_zero(const StoredAttention& module) {
  double sum = module.radius.output_bias.squaredNorm();
  if (module.config.value_bias_counts()) return sum / 3;
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

Enclosure enclosure_at_zero(const StoredAttention& module) {
  if (module.config.value_bias_counts()) return {module.weights.output_bias, module.radius.output_bias};
  return enclose_attend(for_one_token(module), Matrix<double>::Zero(1, module.config.model_width));
}

// Whether every entry of the output at zero is within its worst case times the allowance for arithmetic.
bool entries_at_zero_agree(const StoredAttention& a, const StoredAttention& b, double allowance) {
  const Enclosure x = enclosure_at_zero(a);
  const Enclosure y = enclosure_at_zero(b);
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

Refutation refute(const StoredAttention& a, const StoredAttention& b,
                  const AttentionElement<double>& b_from_a) {
  if (!(a.config == b.config)) return "the modules have different shapes";
  if (auto reason = refute_membership(without_norms(a.config), without_norms(b.config), b_from_a))
    return reason;
  const AttentionWeights<double> of_b = with_gains(b);
  const AttentionWeights<double> moved = act(b_from_a, with_gains(a));
  const Permutation image = head_image(b_from_a);
  for (Index head = 0; head < image.size(); ++head) {
    const Index to = image(head);
    const StoredScores scores_a = stored_scores(a, head);
    const StoredScores scores_b = stored_scores(b, to);
    const bool qk = same_offsets(scores_a, scores_b) && same_norms(scores_a, scores_b) &&
                    same_gates(scores_a, scores_b) &&
                    circuits_hold(paired_terms(scores_a, scores_b), score_factors(b.config, moved, to),
                                  score_factors(b.config, of_b, to));
    if (!qk) return failure("QK", head, to);
    const bool vo =
        circuits_hold(terms_of(stored_vo_circuit(a, head), stored_vo_circuit(b, to)),
                      output_factors(b.config, moved, to), output_factors(b.config, b.weights, to));
    if (!vo) return failure("OV", head, to);
  }
  return std::nullopt;
}

// One class: the scores are all those of the first head, and the OV circuits have equal sums.
Refutation refute(const StoredAttention& a, const StoredAttention& b, const HeadClass& heads) {
  std::vector<StoredScores> scores;
  for (const Index head : heads.a) scores.push_back(stored_scores(a, head));
  for (const Index head : heads.b) scores.push_back(stored_scores(b, head));
  for (std::size_t i = 1; i < scores.size(); ++i) {
    if (!same_scores(scores[i], scores.front()))
      return "the QK circuits of " + describe(heads) + " are not the same within rounding";
  }
  if (same_circuits(terms_of(stored_vo_sum(a, heads.a), stored_vo_sum(b, heads.b)))) return std::nullopt;
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
    const CircuitComparison qk = compare(stored_scores(a, head), stored_scores(b, image(head)));
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
  if (auto reason = refute_membership(from.config, to.config, b_from_a)) return reason;
  if (!is_exact(b_from_a)) return "the transport is not made of exact gauges";
  const bool both_ways =
      act(b_from_a, from.weights) == to.weights && act(inverse(b_from_a), to.weights) == from.weights;
  if (both_ways) return std::nullopt;
  return "the transport does not carry the weights of A exactly onto those of B";
}

std::optional<std::string> refute_equivalence(const StoredAttention& a, const StoredAttention& b,
                                              const EqualityEvidence& evidence) {
  const StoredAttention from = as_seen(a);
  const StoredAttention to = as_seen(b);
  if (from.config.model_width != to.config.model_width) return "the modules have different widths";
  if (auto reason = std::visit([&](const auto& e) { return refute(from, to, e); }, evidence)) return reason;
  if (!constants_agree(from, to)) return "the constant outputs differ by more than rounding";
  return std::nullopt;
}

double evidence_resolution(const StoredAttention& a, const StoredAttention& b,
                           const EqualityEvidence& evidence) {
  const StoredAttention from = as_seen(a);
  const StoredAttention to = as_seen(b);
  const Hidden hidden = std::visit([&](const auto& e) { return hidden_by(from, to, e); }, evidence);
  const double scale = std::max(hidden.scale, output_at_zero(from).norm());
  const double constant = compare_constants(from, to).hidden_difference();
  return std::max(hidden.difference, scale > 0 ? constant / scale : 0);
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
