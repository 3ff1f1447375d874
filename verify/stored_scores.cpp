#include "verify/stored_scores.hpp"

#include <algorithm>
#include <cmath>

namespace attnsym {
namespace {

const QueryHead<double>& reader_of(const AttentionWeights<double>& weights, const AttentionConfig& config,
                                   Index head) {
  return weights.groups[head / config.readers_per_group()].readers[head % config.readers_per_group()];
}

double sink_of(const QueryHead<double>& reader) { return reader.sink.size() > 0 ? reader.sink(0) : 0; }

// Turned columns come with a sign, which a radius has not.
Circuit<double> sizes(Circuit<double> circuit) {
  circuit.left = circuit.left.cwiseAbs();
  circuit.right = circuit.right.cwiseAbs();
  return circuit;
}

// With a zero row for the key bias where that does not count.
Circuit<double> padded(Circuit<double> circuit) {
  if (circuit.right.rows() < circuit.left.rows())
    circuit.right = homogeneous(circuit.right, RowVector<double>());
  return circuit;
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
  AttentionConfig unscaled = module.config;
  unscaled.scale = 1;
  std::vector<ScoreTerm<double>> values = score_terms(unscaled, module.weights, head);
  std::vector<ScoreTerm<double>> radii = score_terms(unscaled, module.radius, head);
  int exponent = 0;
  const double mantissa = std::frexp(module.config.scale, &exponent);

  StoredScores scores;
  for (std::size_t t = 0; t < values.size(); ++t) {
    StoredCircuit circuit =
        normalized(padded(std::move(values[t].circuit)), padded(sizes(std::move(radii[t].circuit))));
    circuit.value.left *= mantissa;
    circuit.radius.left *= std::abs(mantissa);
    circuit.exponent += exponent;
    scores.terms.push_back({values[t].harmonic, std::move(circuit)});
  }
  scores.offsets = stored_offsets(module, head);
  return scores;
}

StoredOffsets stored_offsets(const StoredAttention& module, Index head) {
  StoredOffsets offsets{RowVector<double>(2), RowVector<double>(2)};
  const double slope = module.config.slopes.empty() ? 0 : module.config.slopes[head];
  offsets.value << slope, sink_of(reader_of(module.weights, module.config, head));
  offsets.radius << 0, sink_of(reader_of(module.radius, module.config, head));
  return offsets;
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
