#include "verify/decide.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "verify/bound.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/constant.hpp"
#include "verify/exact_transport.hpp"
#include "verify/fingerprint.hpp"
#include "verify/fitted_transport.hpp"
#include "verify/head_classes.hpp"
#include "verify/matching.hpp"
#include "verify/witness_inputs.hpp"
#include "verify/witness_search.hpp"

namespace attnsym {
namespace {

bool same_shape(const AttentionConfig& a, const AttentionConfig& b) {
  return a.heads == b.heads && a.groups == b.groups && a.key_width == b.key_width &&
         a.value_width == b.value_width && a.scale == b.scale && a.scores_like(b) && a.rotary == b.rotary &&
         a.slopes == b.slopes && a.distance_buckets == b.distance_buckets && a.qk_norm == b.qk_norm;
}

// The length up to which these turn alike, where they differ in longer sequences and nowhere else.
std::optional<Index> turn_alike_up_to(const Rotary& a, Rotary b) {
  if (a.beyond == b.beyond) return std::nullopt;
  const Index length = std::min(a.beyond ? a.beyond->length : b.beyond->length,
                                b.beyond ? b.beyond->length : a.beyond->length);
  b.beyond = a.beyond;
  return a == b ? std::optional(length) : std::nullopt;
}

// One decision in the making: the two modules with all biases present and as inputs see them, and what has
// been found so far.
class Case {
 public:
  Case(StoredAttention a, StoredAttention b, const DecideOptions& options)
      : a_(with_all_biases(std::move(a))), b_(with_all_biases(std::move(b))), options_(options) {
    if (!a_.config.centred_inputs && !a_.config.output_gate && !b_.config.output_gate) return;
    stored_a_ = std::exchange(a_, as_seen(a_));
    stored_b_ = std::exchange(b_, as_seen(b_));
  }

  Decision decide() && {
    decision_.turn_alike_up_to = turn_alike_up_to(a_.config.rotary, b_.config.rotary);
    decision_.constant = compare_constants(a_, b_);
    decision_.verdict = verdict();
    note_output_bound();
    return std::move(decision_);
  }

 private:
  // Gated coordinates are compared one by one, without an element.
  bool is_gated() const { return a_.config.output_gate || b_.config.output_gate; }

  Verdict verdict() {
    if (is_gated() && stored_a().config == stored_b().config) {
      if (const auto exact = exact_transport(stored_a(), stored_b(), match_heads(stored_a(), stored_b()))) {
        return identical(*exact);
      }
    }
    if (!is_gated() && same_shape(a_.config, b_.config)) {
      const Matching matching = match_heads(a_, b_, options_.run_tasks);
      const auto fitted = fitted_transport(a_, b_, matching, options_.run_tasks);
      if (fitted) {
        decision_.heads = fitted->heads;
      } else {
        compare_heads(matching);
      }
      find_worst_head();
      if (const auto exact = exact_transport(stored_a(), stored_b(), matching)) {
        return identical(*exact);
      }
      if (decision_.heads_agree() && decision_.constant.explained_by_rounding()) {
        if (!fitted) return equal_if_resolved(one_to_one(), {});
        note_condition(fitted->b_from_a);
        return equal_if_resolved(fitted->b_from_a, refute_beside_circuits(a_, b_, fitted->b_from_a));
      }
    }
    const HeadClasses classes = classify_heads(a_, b_);
    for (const HeadClass& heads : classes) decision_.classes.push_back(compare_class(a_, b_, heads));
    const bool agree = decision_.classes_agree() && !refute_partition(a_, b_, classes);
    if (agree && decision_.constant.explained_by_rounding()) return equal_if_resolved(classes, {});
    find_worst_head();
    return separated_or(unexplained_difference());
  }

  const StoredAttention& stored_a() const { return stored_a_ ? *stored_a_ : a_; }
  const StoredAttention& stored_b() const { return stored_b_ ? *stored_b_ : b_; }

  void compare_heads(const Matching& matching) {
    decision_.heads.resize(static_cast<std::size_t>(a_.config.heads));
    options_.run_tasks(decision_.heads.size(), [&](std::size_t i) {
      const auto head = static_cast<Index>(i);
      const Index image = matching.image_of(head);
      decision_.heads[i] = {head, image, compare(stored_scores(a_, head), stored_scores(b_, image)),
                            compare(stored_vo_circuit(a_, head), stored_vo_circuit(b_, image))};
    });
  }

  // A head whose class agrees is none to blame.
  void find_worst_head() {
    double largest = -1;
    for (const HeadComparison& head : decision_.heads) {
      const double ratio = is_blameless(head.head) ? 0 : head.largest_ratio();
      if (ratio <= largest) continue;
      largest = ratio;
      decision_.worst_head = head.head;
    }
  }

  bool is_blameless(Index head) const {
    return std::any_of(decision_.classes.begin(), decision_.classes.end(), [&](const ClassComparison& one) {
      return one.explained_by_rounding() &&
             std::find(one.heads.a.begin(), one.heads.a.end(), head) != one.heads.a.end();
    });
  }

  // No verdict without the checker's word.
  Verdict identical(const AttentionElement<double>& element) {
    note_condition(element);
    if (auto reason = refute_identity(stored_a(), stored_b(), element)) return refused(*reason);
    return Identical{element};
  }

  static Undecided refused(const std::string& reason) {
    return {"evidence was found, but the checker refuses it: " + reason};
  }

  // @param refutation  what the checker has against a change of basis; it has yet to see classes of heads
  Verdict equal_if_resolved(EqualityEvidence evidence, std::optional<std::string> refutation) const {
    if (hidden_difference() > options_.worst_resolution) {
      return Undecided{"the circuits agree, but the resolution is " + brief(100 * hidden_difference()) +
                       " %: the stored precision could hide a relative difference up to that size (limit " +
                       brief(100 * options_.worst_resolution) + " %)"};
    }
    if (std::holds_alternative<HeadClasses>(evidence))
      refutation = refute_equivalence(stored_a(), stored_b(), evidence);
    if (refutation) return refused(*refutation);
    return Equivalent{std::move(evidence)};
  }

  HeadClasses one_to_one() const {
    HeadClasses classes;
    for (const HeadComparison& head : decision_.heads) classes.push_back({{head.head}, {head.image}});
    return classes;
  }

  // What agreement could hide: of a circuit relative to its norm, of the constant relative to itself or the
  // OV circuits.
  double hidden_difference() const {
    double worst = 0;
    double scale = constant_output(a_.config, a_.weights).norm();
    for (const HeadComparison& head : decision_.heads) {
      if (decision_.classes.empty())
        worst = std::max({worst, head.qk.hidden_difference(), head.vo.hidden_difference()});
      scale = std::max(scale, head.vo.norm);
    }
    for (const ClassComparison& one : decision_.classes) {
      worst = std::max(worst, one.hidden_difference());
      scale = std::max(scale, one.vo_scale);
    }
    return std::max(worst, scale > 0 ? decision_.constant.hidden_difference() / scale : 0);
  }

  Verdict separated_or(std::string reason) const {
    if (!options_.search_witness || is_alike_in_short(stored_a(), stored_b()))
      return Undecided{std::move(reason)};
    auto witness = search_witness(stored_a(), stored_b(), suspects(), options_.witness_factor, options_.seed);
    if (witness) return Distinct{std::move(*witness)};
    return Undecided{std::move(reason)};
  }

  Suspects suspects() const {
    if (!decision_.heads.empty()) {
      const HeadComparison& worst = decision_.heads[decision_.worst_head];
      return suspects_in(stored_scores(a_, worst.head), stored_scores(b_, worst.image),
                         stored_vo_circuit(a_, worst.head), stored_vo_circuit(b_, worst.image));
    }
    return suspects_of(worst_pair());
  }

  // Among the classes that differ, the side of A and the side of B whose QK circuits are nearest.
  HeadClass worst_pair() const {
    const std::vector<Fingerprint> prints_a = qk_fingerprints(a_);
    const std::vector<Fingerprint> prints_b = qk_fingerprints(b_);
    HeadClass best;
    double nearest = std::numeric_limits<double>::infinity();
    for (const ClassComparison& x : decision_.classes) {
      if (x.explained_by_rounding()) continue;
      if (best.a.empty()) best.a = x.heads.a;
      if (best.b.empty()) best.b = x.heads.b;
      for (const ClassComparison& y : decision_.classes) {
        if (y.explained_by_rounding() || x.heads.a.empty() || y.heads.b.empty()) continue;
        const double distance = relative_distance(prints_a[x.heads.a.front()], prints_b[y.heads.b.front()]);
        if (distance >= nearest) continue;
        nearest = distance;
        best = {x.heads.a, y.heads.b};
      }
    }
    return best;
  }

  Suspects suspects_of(const HeadClass& heads) const {
    const Index d = a_.config.model_width;
    const auto qk = [&](const StoredAttention& module, const std::vector<Index>& side) {
      return side.empty() ? zero_scores(d) : stored_scores(module, side.front());
    };
    return suspects_in(qk(a_, heads.a), qk(b_, heads.b), stored_vo_sum(a_, heads.a),
                       stored_vo_sum(b_, heads.b));
  }

  std::string unexplained_difference() const {
    return describe_difference(decision_) +
           ", but no input was found that separates all modules which round to these, by " +
           brief(options_.witness_factor) + " times their rounding noise";
  }

  void note_condition(const AttentionElement<double>& element) {
    for (const GroupMove<double>& move : element.local) {
      decision_.gauge_condition =
          std::max({decision_.gauge_condition.value_or(1), condition(qk_gauge(move).linear),
                    condition(vo_gauge(move).linear)});
    }
  }

  // A difference of slopes, sinks or tables is beyond N8.
  bool offsets_differ() const {
    const auto differ = [](const auto& items) {
      return std::any_of(items.begin(), items.end(),
                         [](const auto& item) { return item.qk.offset_difference > 0; });
    };
    return differ(decision_.heads) || differ(decision_.classes);
  }

  // [N8] One to one where there are heads; else every head against the first of its class.
  void note_output_bound() {
    if (!options_.input_radius || !a_.config.scores_like(b_.config) || offsets_differ()) return;
    if (a_.config.qk_norm || is_gated()) return;  // N8 has no bound for normalised scores and gates yet
    std::vector<HeadDistance> distances;
    if (decision_.classes_agree()) {
      for (const ClassComparison& one : decision_.classes) {
        distances.push_back({one.qk_difference_at_most, one.vo.difference_at_most, one.vo_norms_at_most});
      }
    } else if (!decision_.heads.empty()) {
      for (const HeadComparison& head : decision_.heads)
        distances.push_back({head.qk.difference_at_most, head.vo.difference_at_most, head.vo.norm_at_most});
    } else {
      return;
    }
    decision_.output_bound =
        output_bound(distances, decision_.constant.difference_at_most, {*options_.input_radius, a_.config});
  }

  StoredAttention a_;  // as seen by inputs
  StoredAttention b_;
  std::optional<StoredAttention> stored_a_;  // as stored, where that is not the same
  std::optional<StoredAttention> stored_b_;
  DecideOptions options_;
  Decision decision_;
};

}  // namespace

Decision decide_equivalence(StoredAttention a, StoredAttention b, const DecideOptions& options) {
  require_comparable(a, b);
  return Case(std::move(a), std::move(b), options).decide();
}

}  // namespace attnsym
