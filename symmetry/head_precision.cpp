#include "symmetry/head_precision.hpp"

#include <cmath>

#include "symmetry/circuits.hpp"
#include "symmetry/distance_buckets.hpp"
#include "symmetry/safe_norm.hpp"
#include "symmetry/score_terms.hpp"

namespace attnsym {
namespace {

// [N7] sqrt of V = sum_k (2 unit^2 / 3) |L_k|^2 |R_k|^2.
template <RealScalar S>
S relative_noise(const Circuit<S>& circuit, const S& unit) {
  using std::sqrt;
  return unit * sqrt(S(2) / S(3)) *
         safe_norm(circuit.left.colwise().norm().cwiseProduct(circuit.right.colwise().norm()));
}

// Q^_i K^T.
template <RealScalar S>
Circuit<S> unscaled_qk_circuit(const AttentionConfig& config, const AttentionWeights<S>& weights,
                               Index head) {
  const KvGroup<S>& group = weights.groups[head / config.readers_per_group()];
  const QueryHead<S>& reader = group.readers[head % config.readers_per_group()];
  return {homogeneous(reader.query, reader.query_bias), group.key};
}

// Between the scores of two heads, without their common scale.
template <RealScalar S>
S score_distance(AttentionConfig config, const AttentionWeights<S>& weights, Index i, Index j) {
  using std::sqrt;
  config.scale = 1;
  const std::vector<ScoreTerm<S>> a = score_terms(config, weights, i);
  const std::vector<ScoreTerm<S>> b = score_terms(config, weights, j);
  S squares{0};
  for (std::size_t t = 0; t < a.size(); ++t) {
    const S apart = difference_norms(a[t].circuit, b[t].circuit).total;
    squares += apart * apart;
  }
  return sqrt(squares);
}

template <RealScalar S>
bool same_offsets(const AttentionConfig& config, const AttentionWeights<S>& weights, Index i, Index j,
                  const S& unit) {
  const auto reader = [&](Index head) -> const QueryHead<S>& {
    return weights.groups[head / config.readers_per_group()].readers[head % config.readers_per_group()];
  };
  return (config.slopes.empty() || config.slopes[i] == config.slopes[j]) &&
         reader(i).sink == reader(j).sink &&
         same_table(config, reader(i).distance_bias, reader(j).distance_bias, unit);
}

}  // namespace

template <RealScalar S>
HeadPrecision<S> relative_precision(const AttentionWeights<S>& weights, const AttentionConfig& config,
                                    S unit) {
  HeadPrecision<S> result{unit, S(1), {}, {}, {}};
  for (Index head = 0; head < config.heads; ++head) {
    const RowVector<S>& value_bias = weights.groups[head / config.readers_per_group()].value_bias;
    Circuit<S> vo = vo_circuit(config, weights, head);
    if (!config.output_bias && vo.left.rows() == config.model_width)
      vo.left = homogeneous(vo.left, value_bias);
    result.qk_noise.push_back(relative_noise(unscaled_qk_circuit(config, weights, head), unit));
    result.vo_noise.push_back(relative_noise(vo, unit));
  }
  const std::vector<S> noise = result.qk_noise;
  result.same_qk = [&weights, &config, noise, unit](Index i, Index j) {
    using std::sqrt;
    const S limit = 2 * sqrt(noise[i] * noise[i] + noise[j] * noise[j]);
    return same_offsets(config, weights, i, j, unit) && score_distance(config, weights, i, j) <= limit;
  };
  return result;
}

template HeadPrecision<float> relative_precision(const AttentionWeights<float>&, const AttentionConfig&,
                                                 float);
template HeadPrecision<double> relative_precision(const AttentionWeights<double>&, const AttentionConfig&,
                                                  double);
template HeadPrecision<Float50> relative_precision(const AttentionWeights<Float50>&, const AttentionConfig&,
                                                   Float50);

}  // namespace attnsym
