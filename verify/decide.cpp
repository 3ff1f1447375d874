#include "verify/decide.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/errors.hpp"
#include "verify/bound.hpp"
#include "verify/degeneracy.hpp"
#include "verify/matching.hpp"
#include "verify/transport.hpp"
#include "verify/witness.hpp"

namespace attnsym {
namespace {

void require_readable(const StoredAttention& module, const char* name) {
  require_fits(module.weights, module.config);
  bool finite = true;
  for_each_slot(module.weights, [&](const auto& slot) { finite = finite && slot.allFinite(); });
  if (!finite) throw FormatError(std::string("module ") + name + " has a weight that is not finite");
}

bool same_shape(const AttentionConfig& a, const AttentionConfig& b) {
  return a.heads == b.heads && a.groups == b.groups && a.key_width == b.key_width &&
         a.value_width == b.value_width && a.causal == b.causal && a.scale == b.scale;
}

// One decision in the making: the two modules with all biases present, and what has been found so far.
class Case {
 public:
  Case(StoredAttention a, StoredAttention b, const DecideOptions& options)
      : a_(with_all_biases(std::move(a))), b_(with_all_biases(std::move(b))), options_(options) {}

  Decision decide() && {
    if (!same_shape(a_.config, b_.config)) return differ_in_shape();
    const Matching matching = match_heads(a_.config, a_.weights, b_.weights);
    compare_heads(matching);
    decision_.verdict = verdict(matching);
    return std::move(decision_);
  }

 private:
  Decision differ_in_shape() {
    decision_.verdict = separated_or(
        "the modules differ in heads, widths, mask or scale, and no input separates them; "
        "equality across shapes needs the reduced form");
    return std::move(decision_);
  }

  void compare_heads(const Matching& matching) {
    std::vector<HeadDistance> distances;
    double largest = -1;
    for (Index head = 0; head < a_.config.heads; ++head) {
      const Index image = matching.image_of(head);
      const HeadComparison& compared = decision_.heads.emplace_back(
          HeadComparison{head, image, compare(stored_qk_circuit(a_, head), stored_qk_circuit(b_, image)),
                         compare(stored_vo_circuit(a_, head), stored_vo_circuit(b_, image))});
      distances.push_back({compared.qk.difference, compared.vo.difference, compared.vo.norm});
      if (compared.largest_ratio() <= largest) continue;
      largest = compared.largest_ratio();
      decision_.worst_head = head;
    }
    decision_.constant = compare_constants(a_, b_);
    if (options_.input_radius) {
      decision_.output_bound = output_bound(distances, decision_.constant.difference, *options_.input_radius);
    }
  }

  Verdict verdict(const Matching& matching) {
    if (const auto exact = exact_transport(a_.weights, b_.weights, matching)) {
      note_condition(*exact);
      return Identical{*exact};
    }
    if (!agrees_within_rounding()) return separated_or(unexplained_difference());
    if (!(hidden_difference() <= options_.worst_resolution)) return Undecided{coarse_resolution()};
    const auto fitted = fitted_transport(a_.weights, b_.weights, matching);
    if (!fitted)
      return Undecided{"the circuits agree, but no gauge connects the weights: " +
                       describe_degeneracy(a_, b_)};
    note_condition(*fitted);
    return Equivalent{*fitted};
  }

  bool agrees_within_rounding() const {
    return decision_.constant.explained_by_rounding() && decision_.heads_agree();
  }

  Verdict separated_or(std::string reason) const {
    Witness witness = search_witness(a_, b_, hints(), options_.witness_factor, options_.seed);
    if (std::isfinite(witness.gap) && witness.gap >= options_.witness_factor * witness.noise) {
      return Distinct{std::move(witness)};
    }
    return Undecided{std::move(reason)};
  }

  WitnessHints hints() const {
    if (decision_.heads.empty()) return {norm(qk_circuit(a_.config, a_.weights, 0)), {}, 1};
    const HeadComparison& worst = decision_.heads[decision_.worst_head];
    return hints_from(
        qk_circuit(a_.config, a_.weights, worst.head), qk_circuit(b_.config, b_.weights, worst.image),
        vo_circuit(a_.config, a_.weights, worst.head), vo_circuit(b_.config, b_.weights, worst.image));
  }

  std::string unexplained_difference() const {
    std::string reason = describe_difference(decision_) +
                         ", but no input was found that separates the modules by " +
                         brief(options_.witness_factor) + " times their rounding noise";
    const std::string degenerate = describe_degeneracy(a_, b_);
    return degenerate.empty() ? reason : reason + ": " + degenerate;
  }

  // What agreement could hide: of a circuit relative to its norm, of the constant relative to itself or the
  // OV circuits.
  double hidden_difference() const {
    double worst = 0;
    double scale = constant_output(a_.config, a_.weights).norm();
    for (const HeadComparison& head : decision_.heads) {
      worst = std::max({worst, head.qk.hidden_difference(), head.vo.hidden_difference()});
      scale = std::max(scale, head.vo.norm);
    }
    return std::max(worst, scale > 0 ? decision_.constant.hidden_difference() / scale : 0);
  }

  std::string coarse_resolution() const {
    return "the circuits agree, but the resolution is " + brief(100 * hidden_difference()) +
           " %: the stored precision could hide a relative difference up to that size (limit " +
           brief(100 * options_.worst_resolution) + " %)";
  }

  void note_condition(const AttentionElement<double>& element) {
    for (const GroupMove<double>& move : element.local) {
      decision_.gauge_condition =
          std::max({decision_.gauge_condition.value_or(1), condition(qk_gauge(move).linear),
                    condition(vo_gauge(move).linear)});
    }
  }

  StoredAttention a_;
  StoredAttention b_;
  DecideOptions options_;
  Decision decision_;
};

}  // namespace

Decision decide_equivalence(const StoredAttention& a, const StoredAttention& b,
                            const DecideOptions& options) {
  require_readable(a, "a");
  require_readable(b, "b");
  require_same_size("the model widths", a.config.model_width, b.config.model_width);
  return Case(std::move(a), std::move(b), options).decide();
}

}  // namespace attnsym
