#include "symmetry/score_terms.hpp"

#include "symmetry/gauge_blocks.hpp"

namespace attnsym {
namespace {

// The keys of one block; where any key bias counts, with a row for it, which is zero where it is free.
template <class S>
Matrix<S> block_keys(const AttentionConfig& config, const KvGroup<S>& group, const GaugeBlock& block) {
  const Matrix<S> keys = block_columns(group.key, block);
  if (!key_bias_counts(config)) return keys;
  RowVector<S> bias;
  if (!key_bias_is_free(config, block)) bias = block_columns<S>(group.key_bias, block);
  return homogeneous(keys, bias);
}

template <class S>
ScoreTerm<S> term(const GaugeBlock& block, bool sine, const S& factor, const Matrix<S>& queries,
                  const Matrix<S>& keys) {
  ScoreTerm<S> result{{block.frequency, block.beyond, sine}, {block_columns(queries, block, sine), keys}};
  if (factor != S(1)) result.circuit.left *= factor;
  return result;
}

}  // namespace

template <Scalar S>
std::vector<ScoreTerm<S>> score_terms(const AttentionConfig& config, const AttentionWeights<S>& weights,
                                      Index head) {
  const KvGroup<S>& group = weights.groups[head / config.readers_per_group()];
  const QueryHead<S>& reader = group.readers[head % config.readers_per_group()];
  const Matrix<S> queries = homogeneous(reader.query, reader.query_bias);
  std::vector<ScoreTerm<S>> terms;
  // For complex queries q and keys k, Re(q e^(i w (m - n)) conj(k)) = cos Re(q conj(k)) + sin Re(i q
  // conj(k)).
  for (const GaugeBlock& block : gauge_blocks(config)) {
    const S gain = S(position_gain(config, block));
    const S factor = S(config.scale) * gain * gain;
    const Matrix<S> keys = block_keys(config, group, block);
    terms.push_back(term(block, false, factor, queries, keys));
    if (block.is_complex()) terms.push_back(term(block, true, factor, queries, keys));
  }
  return terms;
}

template std::vector<ScoreTerm<float>> score_terms(const AttentionConfig&, const AttentionWeights<float>&,
                                                   Index);
template std::vector<ScoreTerm<double>> score_terms(const AttentionConfig&, const AttentionWeights<double>&,
                                                    Index);
template std::vector<ScoreTerm<Float50>> score_terms(const AttentionConfig&, const AttentionWeights<Float50>&,
                                                     Index);
template std::vector<ScoreTerm<Rational>> score_terms(const AttentionConfig&,
                                                      const AttentionWeights<Rational>&, Index);

}  // namespace attnsym
