#pragma once

#include <numbers>
#include <string>
#include <vector>

#include "symmetry/attention_config.hpp"

namespace attnsym::testing {

/// One row of N5: a kind of attention, at D 6, dk 4, dv 3.
struct AttentionKind {
  std::string name;
  AttentionConfig config;
  Index dimension;  ///< measured as the null space of the Jacobian of a tiny network
};

/// D 6, dk 4, dv 3.
inline AttentionConfig tiny_config(Index heads, Index groups) {
  AttentionConfig c{6, heads, groups, 4, 3};
  c.scale = 0.5;
  return c;
}

inline AttentionConfig with_biases(AttentionConfig c, bool output = true) {
  c.query_bias = c.key_bias = c.value_bias = true;
  c.output_bias = output;
  return c;
}

inline AttentionConfig with_rotary(AttentionConfig c, std::vector<double> frequencies,
                                   PairLayout layout = PairLayout::HalfSplit) {
  c.rotary = {std::move(frequencies), layout};
  return c;
}

// Other frequencies in sequences of more tokens than `length`.
inline AttentionConfig with_beyond(AttentionConfig c, Index length, std::vector<double> frequencies) {
  c.rotary.beyond = {length, std::move(frequencies), 0};
  return c;
}

inline AttentionConfig with_gain(AttentionConfig c) {
  c.rotary.gain = 1.3;
  return c;
}

inline AttentionConfig with_slopes(AttentionConfig c) {
  for (Index head = 0; head < c.heads; ++head)
    c.slopes.push_back(std::exp2(-1.0 - static_cast<double>(head)));
  return c;
}

// A number of its own for every offset that five tokens see.
inline AttentionConfig with_table(AttentionConfig c) {
  for (Index bucket = 0; bucket < 9; ++bucket) c.distance_buckets.push_back(bucket);
  return c;
}

inline AttentionConfig with_centred_inputs(AttentionConfig c) {
  c.centred_inputs = true;
  return c;
}

inline AttentionConfig with_gates(AttentionConfig c, bool bias = false) {
  c.output_gate = true;
  c.gate_bias = bias;
  return c;
}

inline AttentionConfig with_softcap(AttentionConfig c) {
  c.softcap = 3;
  return c;
}

inline AttentionConfig with_sinks(AttentionConfig c) {
  c.sinks = true;
  return c;
}

inline AttentionConfig with_norms(AttentionConfig c, double epsilon = 0) {
  c.qk_norm = QkNorm{epsilon};
  return c;
}

inline AttentionConfig with_temperatures(AttentionConfig c, double epsilon = 0) {
  c.qk_norm = QkNorm{epsilon, QkGains::Temperature};
  return c;
}

inline AttentionConfig with_norms_over_all_heads(AttentionConfig c, double epsilon = 0) {
  c.qk_norm = QkNorm{epsilon, QkGains::Own, true};
  return c;
}

inline AttentionConfig with_causal_mask(AttentionConfig c) {
  c.causal = true;
  return c;
}

inline std::vector<AttentionKind> attention_kinds() {
  const AttentionConfig plain = tiny_config(2, 2);
  const AttentionConfig biased = with_biases(plain);
  AttentionConfig narrow = plain;  // so that all heads together are not wider than the model
  narrow.key_width = 3;
  const double pi = std::numbers::pi;
  const std::vector<double> two{1.0, 0.3};
  return {
      {"no positions", plain, 50},
      {"causal mask", with_causal_mask(plain), 50},
      {"all biases", biased, 64},
      {"biases but for the output", with_biases(plain, false), 58},
      {"the same, 3 heads", with_biases(tiny_config(3, 3), false), 90},
      {"ALiBi", with_slopes(plain), 50},
      {"table", with_table(plain), 52},
      {"table, causal mask, all biases, GQA", with_table(with_causal_mask(with_biases(tiny_config(4, 2)))),
       84},
      {"table, softcap", with_table(with_softcap(plain)), 50},
      {"output gates", with_gates(plain), 38},
      {"output gates, all biases, GQA", with_gates(with_biases(tiny_config(4, 2)), true), 46},
      {"output gates, centred inputs, rotary", with_gates(with_centred_inputs(with_rotary(plain, two))), 42},
      {"centred inputs", with_centred_inputs(plain), 72},
      {"centred inputs, rotary, all biases, GQA",
       with_centred_inputs(with_rotary(with_biases(tiny_config(4, 2)), two)), 62},
      {"rotary", with_rotary(plain, two), 26},
      {"rotary, interleaved", with_rotary(plain, two, PairLayout::Interleaved), 26},
      {"rotary, causal mask", with_causal_mask(with_rotary(plain, two)), 26},
      {"rotary, two equal frequencies", with_rotary(plain, {0.7, 0.7}), 34},
      {"rotary, opposite frequencies", with_rotary(plain, {0.7, -0.7}), 34},
      {"rotary, a frequency 0", with_rotary(plain, {0.7, 0}), 30},
      {"rotary, a frequency pi", with_rotary(plain, {0.7, pi}), 30},
      {"half of the width rotary", with_rotary(plain, {0.7}), 30},
      {"rotary, all biases", with_rotary(biased, two), 32},
      {"half rotary, all biases", with_rotary(biased, {0.7}), 40},
      {"half rotary with a gain", with_gain(with_rotary(plain, {0.7})), 30},
      {"softcap", with_softcap(plain), 50},
      {"softcap, all biases", with_softcap(biased), 56},
      {"sinks", with_sinks(plain), 50},
      {"sinks, all biases", with_sinks(biased), 50},
      {"GQA", tiny_config(4, 2), 50},
      {"MQA", tiny_config(4, 1), 25},
      {"GQA, rotary", with_rotary(tiny_config(4, 2), two), 26},
      {"GQA, all biases", with_biases(tiny_config(4, 2)), 64},
      {"norms of queries and keys", with_norms(plain), 26},
      {"norms, rotary", with_norms(with_rotary(plain, two)), 24},
      {"norms, rotary, GQA", with_norms(with_rotary(tiny_config(4, 2), two)), 26},
      {"norms with an epsilon, rotary, GQA", with_norms(with_rotary(tiny_config(4, 2), two), 0.1), 20},
      {"norms with an epsilon, all biases", with_norms(biased, 0.1), 28},
      {"norms and temperatures", with_temperatures(plain), 34},
      {"norms and temperatures, rotary", with_temperatures(with_rotary(plain, two)), 26},
      {"norms and temperatures, GQA, all biases", with_temperatures(with_biases(tiny_config(4, 2)), 0.1), 36},
      {"norms over all heads", with_norms_over_all_heads(narrow), 26},
      {"norms over all heads, rotary, GQA",
       with_norms_over_all_heads(with_rotary(tiny_config(4, 2), two), 0.1), 22},
      {"norms over all heads, all biases", with_norms_over_all_heads(with_biases(narrow), 0.1), 30},
  };
}

}  // namespace attnsym::testing
