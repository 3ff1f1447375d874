#include "verify/stored_scores.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/gauge_blocks.hpp"
#include "verify/stored_factors.hpp"

namespace attnsym {
namespace {

const QueryHead<double>& reader_of(const AttentionWeights<double>& weights, const AttentionConfig& config,
                                   Index head) {
  return weights.groups[head / config.readers_per_group()].readers[head % config.readers_per_group()];
}

double sink_of(const QueryHead<double>& reader) { return reader.sink.size() > 0 ? reader.sink(0) : 0; }

// The factors are scaled by a power of two only, in which the mantissa of `times` is left.
StoredCircuit term(const StoredFactor& queries, const StoredFactor& keys, const GaugeBlock& block, bool sine,
                   double times) {
  // Turned columns come with a sign, which a radius has not.
  StoredCircuit circuit = normalized(
      {block_columns(queries.value, block, sine), block_columns(keys.value, block)},
      {block_columns(queries.radius, block, sine).cwiseAbs(), block_columns(keys.radius, block).cwiseAbs()});
  int exponent = 0;
  const double mantissa = std::frexp(times, &exponent);
  circuit.value.left *= mantissa;
  circuit.radius.left *= std::abs(mantissa);
  circuit.exponent += exponent;
  return circuit;
}

// x W W^T x^T, the square of the length of x W.
StoredCircuit length_of(const StoredFactor& factor) {
  return normalized({factor.value, factor.value}, {factor.radius, factor.radius});
}

StoredCircuit zero_like(const StoredCircuit& circuit) {
  return zero_circuit(circuit.value.left.rows(), circuit.value.right.rows());
}

}  // namespace

Index StoredScores::inner_width() const {
  Index width = 0;
  for (const StoredTerm& term : terms) width += term.harmonic.sine ? 0 : term.circuit.value.left.cols();
  return width;
}

StoredScores stored_scores(const StoredAttention& module, Index head) {
  const AttentionConfig& config = module.config;
  const Index group = head / config.readers_per_group();
  const StoredFactor queries = stored_queries(module, head);
  StoredFactor keys = stored_keys(module, group);
  clear_free_biases(keys, config);
  StoredScores scores;
  for (const GaugeBlock& block : gauge_blocks(config)) {
    const double gain = position_gain(config, block);
    for (const bool sine : {false, true}) {
      if (sine && !block.is_complex()) continue;
      scores.terms.push_back(
          {{block.frequency, sine}, term(queries, keys, block, sine, config.scale * gain * gain)});
    }
  }
  scores.offsets = stored_offsets(module, head);
  scores.norms = stored_norms(module, head);
  return scores;
}

StoredOffsets stored_offsets(const StoredAttention& module, Index head) {
  StoredOffsets offsets{RowVector<double>(2), RowVector<double>(2)};
  const double slope = module.config.slopes.empty() ? 0 : module.config.slopes[head];
  offsets.value << slope, sink_of(reader_of(module.weights, module.config, head));
  offsets.radius << 0, sink_of(reader_of(module.radius, module.config, head));
  return offsets;
}

std::vector<StoredCircuit> stored_norms(const StoredAttention& module, Index head) {
  if (!module.config.qk_norm) return {};
  return {length_of(normed_queries(module, head)),
          length_of(normed_keys(module, head / module.config.readers_per_group()))};
}

StoredScores zero_scores(Index model_width) {
  const RowVector<double> none = RowVector<double>::Zero(2);
  return {{{{}, zero_circuit(model_width + 1, model_width + 1)}}, {none, none}};
}

std::vector<TermPair> paired_terms(const StoredScores& a, const StoredScores& b) {
  std::vector<TermPair> pairs;
  auto x = a.terms.begin();
  auto y = b.terms.begin();
  while (x != a.terms.end() || y != b.terms.end()) {
    const bool has_a = x != a.terms.end() && (y == b.terms.end() || x->harmonic <= y->harmonic);
    const bool has_b = y != b.terms.end() && (x == a.terms.end() || y->harmonic <= x->harmonic);
    pairs.push_back({(has_a ? x : y)->harmonic, has_a ? x->circuit : zero_like(y->circuit),
                     has_b ? y->circuit : zero_like(x->circuit)});
    if (has_a) ++x;
    if (has_b) ++y;
  }
  return pairs;
}

}  // namespace attnsym
