#include "verify/attend.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "symmetry/dual.hpp"
#include "symmetry/gains.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

template <class S>
Matrix<S> project(const Matrix<S>& tokens, const Matrix<S>& weight, const RowVector<S>& bias) {
  Matrix<S> result = multiply(tokens, weight);
  if (bias.size() > 0) result.rowwise() += bias;
  return result;
}

// The queries of all heads or the keys of all groups, one row per token each.
template <class S>
using Projections = std::vector<Matrix<S>>;

// The squared length of row n.
template <class S>
S squared_length(const Matrix<S>& rows, Index n) {
  S squares(0);
  for (Index k = 0; k < rows.cols(); ++k) squares += rows(n, k) * rows(n, k);
  return squares;
}

// The RMS norms of queries or keys [N1].
// @param gain_of  of a head or group
template <class S, class Gain>
void normalize_all(Projections<S>& heads, const QkNorm& norm, Gain gain_of) {
  using std::sqrt;
  const Index width = heads.front().cols();
  const auto count = static_cast<Index>(heads.size());
  for (Index n = 0; n < heads.front().rows(); ++n) {
    S all(0);
    for (const Matrix<S>& rows : heads) all += squared_length(rows, n);
    for (Index i = 0; i < count; ++i) {
      Matrix<S>& rows = heads[i];
      const S mean = norm.over_all_heads ? S(all / S(count * width)) : S(squared_length(rows, n) / S(width));
      const S size = sqrt(S(mean + S(norm.epsilon)));
      const RowVector<S> gain = gain_of(i);
      for (Index k = 0; k < width; ++k) rows(n, k) = rows(n, k) * gain(k) / size;
    }
  }
}

// Turns the pairs of a query or key by the angles of its position, times the gain [N1].
template <class S>
void turn(RowVector<S>& row, Index position, const Rotary& rotary, const std::vector<double>& frequencies) {
  using std::cos;
  using std::sin;
  for (Index p = 0; p < rotary.pairs(); ++p) {
    const auto [first, second] = rotary.columns(p);
    const S angle = S(frequencies[p]) * S(position);
    const S x = row(first);
    const S y = row(second);
    row(first) = S(rotary.gain) * (x * cos(angle) - y * sin(angle));
    row(second) = S(rotary.gain) * (x * sin(angle) + y * cos(angle));
  }
}

template <class S>
void turn_all(Matrix<S>& rows, const Rotary& rotary) {
  const std::vector<double> frequencies = rotary.at(rows.rows());
  for (Index n = 0; n < rows.rows(); ++n) {
    RowVector<S> row = rows.row(n);
    turn<S>(row, n, rotary, frequencies);
    rows.row(n) = row;
  }
}

bool sees(const AttentionConfig& config, Index query, Index key) {
  if (config.causal && key > query) return false;
  return config.window == 0 || std::abs(query - key) < config.window;
}

// exp(logit) over the sum of the same for all keys that are seen, and the sink if there is one.
template <class S>
RowVector<S> softmax(const RowVector<S>& logits, const std::vector<bool>& seen, const RowVector<S>& sink) {
  using std::exp;
  std::vector<S> candidates(sink.data(), sink.data() + sink.size());
  for (Index m = 0; m < logits.size(); ++m) {
    if (seen[m]) candidates.push_back(logits(m));
  }
  const S largest = *std::max_element(candidates.begin(), candidates.end());
  S sum(0);
  for (const S& logit : candidates) sum += exp(S(logit - largest));
  RowVector<S> weights = RowVector<S>::Zero(logits.size());
  for (Index m = 0; m < logits.size(); ++m) {
    if (seen[m]) weights(m) = exp(S(logits(m) - largest)) / sum;
  }
  return weights;
}

template <class S>
S capped(const S& logit, const AttentionConfig& config) {
  using std::tanh;
  if (config.softcap == 0) return logit;
  return S(config.softcap) * tanh(S(logit / S(config.softcap)));
}

// sigmoid(x G + bg) of every token.
template <class S>
Matrix<S> gates(const Matrix<S>& tokens, const QueryHead<S>& reader) {
  using std::exp;
  Matrix<S> result = project(tokens, reader.gate, reader.gate_bias);
  for (Index i = 0; i < result.size(); ++i) {
    S& x = result.data()[i];
    x = S(1) / (S(1) + exp(S(-x)));
  }
  return result;
}

template <class S>
Matrix<S> mix(const Matrix<S>& queries, const Matrix<S>& keys, const Matrix<S>& values,
              const QueryHead<S>& reader, Index head, const AttentionConfig& config) {
  Matrix<S> mixed(queries.rows(), values.cols());
  for (Index n = 0; n < queries.rows(); ++n) {
    RowVector<S> logits = S(config.scale) * multiply_nt(queries.row(n), keys);
    std::vector<bool> seen;
    for (Index m = 0; m < keys.rows(); ++m) {
      if (!config.slopes.empty()) logits(m) += S(config.slopes[head]) * S(m - n);
      if (!config.distance_buckets.empty()) logits(m) += reader.distance_bias(config.bucket(m - n));
      logits(m) = capped<S>(logits(m), config);
      seen.push_back(sees(config, n, m));
    }
    mixed.row(n) = multiply(softmax<S>(logits, seen, reader.sink), values);
  }
  return mixed;
}

}  // namespace

template <ForwardScalar S>
Matrix<S> attend(const AttentionConfig& config, const AttentionWeights<S>& weights, const Matrix<S>& tokens) {
  require_fits(weights, config);
  require_same_size("the tokens and the model", tokens.cols(), config.model_width);
  Projections<S> keys;
  Projections<S> queries;
  for (const KvGroup<S>& group : weights.groups) {
    keys.push_back(project(tokens, group.key, group.key_bias));
    for (const QueryHead<S>& reader : group.readers)
      queries.push_back(project(tokens, reader.query, reader.query_bias));
  }
  if (config.qk_norm) {
    normalize_all(keys, *config.qk_norm, [&](Index group) { return key_gain(weights, config, group); });
    normalize_all(queries, *config.qk_norm, [&](Index head) { return query_gain(weights, config, head); });
  }
  for (Matrix<S>& rows : keys) turn_all(rows, config.rotary);
  for (Matrix<S>& rows : queries) turn_all(rows, config.rotary);

  Matrix<S> output = Matrix<S>::Zero(tokens.rows(), config.model_width);
  Index head = 0;
  for (std::size_t j = 0; j < weights.groups.size(); ++j) {
    const KvGroup<S>& group = weights.groups[j];
    const Matrix<S> values = project(tokens, group.value, group.value_bias);
    for (const QueryHead<S>& reader : group.readers) {
      Matrix<S> mixed = mix<S>(queries[head], keys[j], values, reader, head, config);
      if (config.output_gate) mixed = mixed.cwiseProduct(gates(tokens, reader)).eval();
      add_product(output, mixed, reader.output);
      ++head;
    }
  }
  if (config.output_bias) output.rowwise() += weights.output_bias;
  return output;
}

template Matrix<float> attend(const AttentionConfig&, const AttentionWeights<float>&, const Matrix<float>&);
template Matrix<double> attend(const AttentionConfig&, const AttentionWeights<double>&,
                               const Matrix<double>&);
template Matrix<Float50> attend(const AttentionConfig&, const AttentionWeights<Float50>&,
                                const Matrix<Float50>&);
template Matrix<Float100> attend(const AttentionConfig&, const AttentionWeights<Float100>&,
                                 const Matrix<Float100>&);
template Matrix<Dual> attend(const AttentionConfig&, const AttentionWeights<Dual>&, const Matrix<Dual>&);

}  // namespace attnsym
