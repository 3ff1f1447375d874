#include "verify/stored_scores.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/distance_buckets.hpp"
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

// A table, offset by offset, plus or minus its number at offset 0 where shifts are free.
RowVector<double> written_out(const AttentionConfig& config, const RowVector<double>& table, double sign) {
  const Index reach = table_reach(config);
  RowVector<double> result = RowVector<double>::Zero(2 * reach + 1);
  const double here = table_shift_is_free(config) ? table(config.bucket(0)) : 0;
  for (Index offset = -reach; table.size() > 0 && offset <= reach; ++offset) {
    const bool counts =
        config.shows(offset) && !(table_shift_is_free(config) && config.bucket(offset) == config.bucket(0));
    if (counts) result(offset + reach) = table(config.bucket(offset)) + sign * here;
  }
  return result;
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
      scores.terms.push_back({{block.frequency, block.beyond, sine},
                              term(queries, keys, block, sine, config.scale * gain * gain)});
    }
  }
  scores.offsets = stored_offsets(module, head);
  scores.norms = stored_norms(module, head);
  scores.gates = stored_gates(module, head);
  return scores;
}

StoredOffsets stored_offsets(const StoredAttention& module, Index head) {
  const AttentionConfig& config = module.config;
  const QueryHead<double>& reader = reader_of(module.weights, config, head);
  const QueryHead<double>& radius = reader_of(module.radius, config, head);
  const Index length = 2 * table_reach(config) + 1;
  StoredOffsets offsets{RowVector<double>(2 + length), RowVector<double>(2 + length)};
  const double slope = config.slopes.empty() ? 0 : config.slopes[head];
  offsets.value << slope, sink_of(reader), written_out(config, reader.distance_bias, -1);
  offsets.radius << 0, sink_of(radius), written_out(config, radius.distance_bias, 1);
  return offsets;
}

StoredOffsets extended(const StoredOffsets& offsets, Index length) {
  const Index more = (length + 2 - offsets.value.size()) / 2;
  const auto extend = [&](const RowVector<double>& row) {
    RowVector<double> result(length + 2);
    const Index table = row.size() - 2;
    result << row.head(2), RowVector<double>::Constant(more, row(2)), row.tail(table),
        RowVector<double>::Constant(more, row(row.size() - 1));
    return result;
  };
  return more > 0 ? StoredOffsets{extend(offsets.value), extend(offsets.radius)} : offsets;
}

Index table_reach(const AttentionConfig& config) {
  const auto reach = static_cast<Index>(config.distance_buckets.size() / 2);
  return config.window > 0 ? std::min(reach, config.window - 1) : reach;
}

std::vector<StoredCircuit> stored_norms(const StoredAttention& module, Index head) {
  if (!module.config.qk_norm) return {};
  return {length_of(normed_queries(module, head)),
          length_of(normed_keys(module, head / module.config.readers_per_group()))};
}

std::vector<StoredCircuit> stored_gates(const StoredAttention& module, Index head) {
  if (!module.config.output_gate) return {};
  const QueryHead<double>& reader = reader_of(module.weights, module.config, head);
  const QueryHead<double>& radius = reader_of(module.radius, module.config, head);
  const Matrix<double> one = Matrix<double>::Identity(reader.gate.cols(), reader.gate.cols());
  return {
      normalized({homogeneous(reader.gate, reader.gate_bias), one},
                 {homogeneous(radius.gate, radius.gate_bias), Matrix<double>::Zero(one.rows(), one.cols())})};
}

StoredScores zero_scores(Index model_width) {
  const RowVector<double> none = RowVector<double>::Zero(3);
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
