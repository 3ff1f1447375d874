#include "verify/exact.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>

#include "symmetry/centred.hpp"
#include "symmetry/safe_norm.hpp"
#include "verify/attend.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/enclosure.hpp"
#include "verify/exact_transport.hpp"
#include "verify/head_classes.hpp"
#include "verify/matching.hpp"
#include "verify/residues.hpp"
#include "verify/witness_inputs.hpp"

namespace attnsym {
namespace {

// The module with gated coordinates written out, or as inputs see it: itself, or in `room` where that
// differs.
const StoredAttention& written_out(const StoredAttention& module, std::optional<StoredAttention>& room) {
  return module.config.output_gate ? room.emplace(with_coordinates_written_out(module)) : module;
}

const StoredAttention& seen(const StoredAttention& module, std::optional<StoredAttention>& room) {
  const bool differs = module.config.output_gate || module.config.centred_inputs;
  return differs ? room.emplace(as_seen(module)) : module;
}

// Independent primes: their collision probabilities multiply.
constexpr std::size_t primes = 2;

// Both modules at one prime.
struct ResiduePair {
  Modulus modulus;
  ModuleResidues a;
  ModuleResidues b;
};

class ResidueComparison {
 public:
  ResidueComparison(const StoredAttention& a, const StoredAttention& b, HashedRandom random) {
    for (std::size_t i = 0; i < primes; ++i) {
      const ResidueProbe probe(a.config, b.config, random);
      pairs_.push_back({probe.modulus(), probe(a), probe(b)});
    }
  }

  // The QK circuit of a head, as good as the circuit itself for telling whether two are equal.
  using Key = std::array<std::uint64_t, primes>;
  Key qk_of_a(Index head) const {
    return key([&](const ResiduePair& pair) { return pair.a.qk[head]; });
  }
  Key qk_of_b(Index head) const {
    return key([&](const ResiduePair& pair) { return pair.b.qk[head]; });
  }

  bool one_qk(const HeadClass& heads) const {
    std::vector<Key> keys;
    for (const Index head : heads.a) keys.push_back(qk_of_a(head));
    for (const Index head : heads.b) keys.push_back(qk_of_b(head));
    return std::adjacent_find(keys.begin(), keys.end(), std::not_equal_to<>()) == keys.end();
  }

  bool equal_sums(const HeadClass& heads) const {
    return std::all_of(pairs_.begin(), pairs_.end(), [&](const ResiduePair& pair) {
      std::uint64_t difference = pair.modulus.zero();
      for (const Index head : heads.a) difference = pair.modulus.add(difference, pair.a.vo[head]);
      for (const Index head : heads.b)
        difference = pair.modulus.add(difference, pair.modulus.negate(pair.b.vo[head]));
      return difference == pair.modulus.zero();
    });
  }

  bool equal_constants() const {
    return std::all_of(pairs_.begin(), pairs_.end(),
                       [](const ResiduePair& pair) { return pair.a.constant == pair.b.constant; });
  }

 private:
  template <class Pick>
  Key key(Pick pick) const {
    Key result{};
    std::transform(pairs_.begin(), pairs_.end(), result.begin(), pick);
    return result;
  }

  std::vector<ResiduePair> pairs_;
};

HeadClasses classes_of(const StoredAttention& a, const StoredAttention& b,
                       const ResidueComparison& residues) {
  using Key = ResidueComparison::Key;
  HeadClasses classes;
  const auto add_all = [&](std::map<Key, std::size_t>& known, Index heads, auto key,
                           std::vector<Index> HeadClass::*side) {
    for (Index head = 0; head < heads; ++head) {
      const auto [place, is_new] = known.try_emplace(key(head), classes.size());
      if (is_new) classes.emplace_back();
      (classes[place->second].*side).push_back(head);
    }
  };
  std::map<Key, std::size_t> known;
  add_all(
      known, a.config.heads, [&](Index head) { return residues.qk_of_a(head); }, &HeadClass::a);
  if (!a.config.scores_like(b.config)) known.clear();  // nothing in common then [N3]
  add_all(
      known, b.config.heads, [&](Index head) { return residues.qk_of_b(head); }, &HeadClass::b);
  return classes;
}

// Over all comparisons of two circuits that an answer may rest on.
double error_probability_of(const StoredAttention& a, const StoredAttention& b) {
  const auto heads = static_cast<double>(a.config.heads + b.config.heads);
  const double comparisons = heads * (heads + 1) / 2 + heads + 1;
  return comparisons * std::pow(collision_probability(a, b), static_cast<double>(primes));
}

// The token at which outputs at 50 digits are furthest apart, if that is more than rounding does to most
// inputs. A guess, which spares enclosures.
std::optional<Index> most_different_token(const StoredAttention& a, const StoredAttention& b,
                                          const Matrix<double>& input) {
  const Matrix<Float50> tokens = input.cast<Float50>();
  const Matrix<Float50> output_a = attend(a.config, cast<Float50>(a.weights), tokens);
  const Matrix<Float50> output_b = attend(b.config, cast<Float50>(b.weights), tokens);
  Index token = 0;
  const Float50 gap = (output_a - output_b).rowwise().norm().maxCoeff(&token);
  if (!(gap > Float50("1e-40") * (output_a.norm() + output_b.norm()))) return std::nullopt;
  return token;
}

Witness exact_witness(const StoredAttention& a, const StoredAttention& b, const Matrix<double>& input) {
  Witness witness{input, attend(a.config, a.weights, input), attend(b.config, b.weights, input)};
  witness.gap = safe_norm(witness.output_a - witness.output_b);
  witness.gap_at_least = exact_gap_at_least(a, b, input);
  return witness;
}

// Two heads whose difference is worth a look: those of a class that differs, or of any.
Suspects suspects_of(const StoredAttention& a, const StoredAttention& b, const HeadClasses& classes,
                     const ResidueComparison& residues) {
  Index head_a = 0;
  Index head_b = 0;
  for (const HeadClass& heads : classes) {
    if (residues.equal_sums(heads)) continue;
    if (!heads.a.empty()) head_a = heads.a.front();
    if (!heads.b.empty()) head_b = heads.b.front();
  }
  std::optional<StoredAttention> room_a;
  std::optional<StoredAttention> room_b;
  const StoredAttention& seen_a = seen(a, room_a);
  const StoredAttention& seen_b = seen(b, room_b);
  return suspects_in(stored_scores(seen_a, head_a), stored_scores(seen_b, head_b),
                     stored_vo_circuit(seen_a, head_a), stored_vo_circuit(seen_b, head_b));
}

Verdict shown_by_an_input(const StoredAttention& a, const StoredAttention& b, const Suspects& suspects,
                          Random& random) {
  if (is_alike_in_short(a, b))
    return Undecided{"rotary positions differ in sequences that are longer than inputs that are tried"};
  for (const Matrix<double>& input : candidate_inputs(a.config, suspects, random)) {
    Witness witness = exact_witness(a, b, input);
    if (witness.gap_at_least > 0) return Distinct{std::move(witness)};
  }
  if (a.config.rotary.beyond != b.config.rotary.beyond)
    return Undecided{
        "rotary positions of long sequences differ, but no input was found that shows a difference at 50 "
        "digits"};
  // That reduced forms differ proves nothing alone: gated coordinates can cancel, normalised scores agree in
  // other parts, and rows that see one other token see less than these [N3, N5].
  return Undecided{
      "the reduced forms of the stored numbers differ, but no input was found that shows it at 50 digits"};
}

std::optional<AttentionElement<double>> exact_gauge(const StoredAttention& a, const StoredAttention& b) {
  if (!(a.config == b.config)) return std::nullopt;
  return exact_transport(a, b, match_heads(a, b));
}

// The checker's last word, with primes of its own. What an input shows is evaluated by the checker's part
// anyway.
std::optional<std::string> refutation_of(const ExactDecision& decision, const StoredAttention& a,
                                         const StoredAttention& b, std::uint64_t seed) {
  if (const auto* identical = std::get_if<Identical>(&decision.verdict))
    return refute_identity(a, b, identical->b_from_a);
  if (std::holds_alternative<Equivalent>(decision.verdict))
    return refute_exact_equality(a, b, decision.classes, seed);
  return std::nullopt;
}

}  // namespace

ExactDecision decide_exactly(const StoredAttention& stored_a, const StoredAttention& stored_b,
                             std::uint64_t seed) {
  require_comparable(stored_a, stored_b);
  const StoredAttention a = with_all_biases(stored_a);
  const StoredAttention b = with_all_biases(stored_b);
  std::optional<StoredAttention> room_a;
  std::optional<StoredAttention> room_b;
  const StoredAttention& out_a = written_out(a, room_a);
  const StoredAttention& out_b = written_out(b, room_b);
  const ResidueComparison residues(out_a, out_b, {seed, "exact mode", {digest_of(a), digest_of(b)}});
  ExactDecision decision;
  decision.classes = classes_of(out_a, out_b, residues);
  const bool equal = residues.equal_constants() && !refute_partition(out_a, out_b, decision.classes) &&
                     std::all_of(decision.classes.begin(), decision.classes.end(),
                                 [&](const HeadClass& heads) { return residues.equal_sums(heads); });
  // Without an epsilon, powers of two move lengths and what is divided by them: gauges that parts do not
  // show.
  const bool may_be_identical = equal || a.config.qk_norm.has_value();
  if (const auto element = may_be_identical ? exact_gauge(a, b) : std::nullopt) {
    decision.verdict = Identical{*element};
  } else if (!equal) {
    Random random(seed);
    decision.verdict = shown_by_an_input(a, b, suspects_of(a, b, decision.classes, residues), random);
  } else {
    decision.verdict = Equivalent{decision.classes};
    decision.error_probability = error_probability_of(out_a, out_b);
  }
  if (auto reason = refutation_of(decision, stored_a, stored_b, seed))
    decision.verdict = Undecided{"evidence was found, but the checker refuses it: " + *reason};
  return decision;
}

std::optional<std::string> refute_exact_equality(const StoredAttention& stored_a,
                                                 const StoredAttention& stored_b, const HeadClasses& classes,
                                                 std::uint64_t seed) {
  const StoredAttention a = with_coordinates_written_out(with_all_biases(stored_a));
  const StoredAttention b = with_coordinates_written_out(with_all_biases(stored_b));
  if (auto reason = refute_partition(a, b, classes)) return reason;
  const ResidueComparison residues(a, b, {seed, "exact mode, checked", {digest_of(a), digest_of(b)}});
  for (const HeadClass& heads : classes) {
    if (!residues.one_qk(heads)) return "the QK circuits of " + describe(heads) + " are not exactly the same";
    if (!residues.equal_sums(heads))
      return "the OV circuits of " + describe(heads) + " do not have exactly equal sums";
  }
  if (!residues.equal_constants()) return "the constant outputs are not exactly the same";
  return std::nullopt;
}

double exact_gap_at_least(const StoredAttention& stored_a, const StoredAttention& stored_b,
                          const Matrix<double>& input) {
  if (stored_a.config.centred_inputs && !is_centred(input)) return 0;
  const StoredAttention a = taken_as_exact(stored_a);
  const StoredAttention b = taken_as_exact(stored_b);
  const double enclosed = distance_at_least(enclose_attend(a, input), enclose_attend(b, input));
  if (enclosed > 0) return enclosed;
  const std::optional<Index> token = most_different_token(a, b, input);
  if (!token) return 0;
  return distance_at_least(enclose_at_fifty_digits(a, input, *token),
                           enclose_at_fifty_digits(b, input, *token));
}

}  // namespace attnsym
