#include <cmath>
#include <numbers>

#include "verify/slips/slip.hpp"

namespace attnsym {
namespace {

using enum Projection;

// A field of the configuration that B has otherwise than A, which A's would mend.
template <class Value>
Slip other_setting(const char* text, Value AttentionConfig::*field) {
  Slip slip;
  slip.text = text;
  slip.undone = [field](const StoredAttention& module,
                        const StoredAttention& reference) -> std::optional<StoredAttention> {
    if (module.config.*field == reference.config.*field || module.config.heads != reference.config.heads)
      return std::nullopt;  // slopes are those of heads
    StoredAttention result = module;
    result.config.*field = reference.config.*field;
    return result;
  };
  return slip;
}

Slip other_frequencies() {
  Slip slip;
  slip.text = "another rotary base or scaling is configured";
  slip.undone = [](const StoredAttention& module,
                   const StoredAttention& reference) -> std::optional<StoredAttention> {
    const Rotary& ours = module.config.rotary;
    const Rotary& theirs = reference.config.rotary;
    if (ours.pairs() != theirs.pairs() ||
        (ours.frequencies == theirs.frequencies && ours.beyond == theirs.beyond))
      return std::nullopt;
    StoredAttention result = module;
    result.config.rotary.frequencies = theirs.frequencies;
    result.config.rotary.gain = theirs.gain;
    result.config.rotary.beyond = theirs.beyond;
    return result;
  };
  return slip;
}

Slip other_epsilon() {
  Slip slip;
  slip.text = "another epsilon of the norms of queries and keys is configured";
  slip.undone = [](const StoredAttention& module,
                   const StoredAttention& reference) -> std::optional<StoredAttention> {
    const auto& theirs = reference.config.qk_norm;
    if (!module.config.qk_norm || !theirs || module.config.qk_norm->epsilon == theirs->epsilon)
      return std::nullopt;
    StoredAttention result = module;
    result.config.qk_norm->epsilon = theirs->epsilon;
    return result;
  };
  return slip;
}

// @param factor  of the head width: by what scores have to be multiplied
Slip other_scale(const char* text, double (*factor)(double head_width)) {
  Slip slip;
  slip.text = text;
  slip.projections = {Query, Key};
  slip.scales_scores = true;
  slip.undone = [factor](const StoredAttention& module,
                         const StoredAttention&) -> std::optional<StoredAttention> {
    StoredAttention result = module;
    result.config.scale *= factor(static_cast<double>(module.config.key_width));
    return result;
  };
  return slip;
}

bool same_heads(const AttentionConfig& a, const AttentionConfig& b) {
  return a.heads == b.heads && a.groups == b.groups && a.key_width == b.key_width &&
         a.value_width == b.value_width;
}

// Every bias of a kind, side by side.
template <class Visit>
void for_each_bias(AttentionWeights<double>& weights, Projection which, Visit visit) {
  if (which == Output) return visit(weights.output_bias);
  for (KvGroup<double>& group : weights.groups) {
    if (which == Key) visit(group.key_bias);
    if (which == Value) visit(group.value_bias);
    for (QueryHead<double>& reader : group.readers)
      if (which == Query) visit(reader.query_bias);
  }
}

std::vector<RowVector<double>> biases(AttentionWeights<double> weights, Projection which) {
  std::vector<RowVector<double>> all;
  for_each_bias(weights, which, [&](const RowVector<double>& bias) { all.push_back(bias); });
  return all;
}

void set_biases(AttentionWeights<double>& weights, Projection which,
                const std::vector<RowVector<double>>& all) {
  auto next = all.begin();
  for_each_bias(weights, which, [&](RowVector<double>& bias) { bias = *next++; });
}

Slip lost_biases(std::vector<Projection> which, const char* text) {
  Slip slip;
  slip.text = text;
  slip.projections = which;
  slip.undone = [which = std::move(which)](
                    const StoredAttention& module,
                    const StoredAttention& reference) -> std::optional<StoredAttention> {
    if (!same_heads(module.config, reference.config)) return std::nullopt;
    StoredAttention result = module;
    for (const Projection one : which) {
      for (const RowVector<double>& bias : biases(module.weights, one))
        if (!bias.isZero(0)) return std::nullopt;
      set_biases(result.weights, one, biases(reference.weights, one));
      set_biases(result.radius, one, biases(reference.radius, one));
    }
    return result.weights == module.weights ? std::nullopt : std::optional(std::move(result));
  };
  return slip;
}

// Gains g stored as g - 1 and read as they are, or the other way round.
Slip gains_off_by(double missing, const char* text) {
  Slip slip;
  slip.text = text;
  slip.projections = {Query, Key};
  slip.undone = [missing](const StoredAttention& module,
                          const StoredAttention&) -> std::optional<StoredAttention> {
    if (!module.config.qk_norm || module.config.qk_norm->gains == QkGains::Temperature) return std::nullopt;
    StoredAttention result = module;
    const auto add = [&](RowVector<double>& gain) { gain.array() += missing; };
    add(result.weights.query_gain);
    add(result.weights.key_gain);
    for (KvGroup<double>& group : result.weights.groups) {
      add(group.gain);
      for (QueryHead<double>& reader : group.readers) add(reader.gain);
    }
    return result;
  };
  return slip;
}

}  // namespace

std::vector<Slip> setting_slips() {
  std::vector<Slip> slips;
  slips.push_back(other_frequencies());
  slips.push_back(other_setting("another scale of scores is configured", &AttentionConfig::scale));
  slips.push_back(other_setting("another softcap is configured", &AttentionConfig::softcap));
  slips.push_back(other_setting("another window is configured", &AttentionConfig::window));
  slips.push_back(
      other_setting("a causal mask is configured in one of the two only", &AttentionConfig::causal));
  slips.push_back(other_setting("other ALiBi slopes are configured", &AttentionConfig::slopes));
  slips.push_back(other_epsilon());
  for (const Projection one : {Query, Key, Value, Output})
    slips.push_back(lost_biases({one}, "the bias was lost"));
  slips.push_back(lost_biases({Query, Key, Value}, "the biases were lost"));
  slips.push_back(gains_off_by(1, "gains of the norms are stored less one and read as they are"));
  slips.push_back(gains_off_by(-1, "gains of the norms are stored as they are and read as less one"));
  slips.push_back(other_scale("the scale 1/sqrt(head width) is applied twice",
                              [](double width) { return std::sqrt(width); }));
  slips.push_back(other_scale("the scale 1/sqrt(head width) is missing",
                              [](double width) { return 1 / std::sqrt(width); }));
  slips.push_back(other_scale("scores are half as large", [](double) { return 2.0; }));
  slips.push_back(other_scale("scores are twice as large", [](double) { return 0.5; }));
  slips.push_back(other_scale("scores are for powers of two: log2(e) was multiplied in",
                              [](double) { return std::numbers::ln2; }));
  return slips;
}

}  // namespace attnsym
