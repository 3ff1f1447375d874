#include "verify/attend.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "symmetry/dual.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

template <class S>
Matrix<S> project(const Matrix<S>& tokens, const Matrix<S>& weight, const RowVector<S>& bias) {
  Matrix<S> result = tokens * weight;
  if (bias.size() > 0) result.rowwise() += bias;
  return result;
}

// The RMS norm of a query or key [N1].
template <class S>
void normalize_all(Matrix<S>& rows, const std::optional<QkNorm>& norm, const RowVector<S>& gain) {
  using std::sqrt;
  if (!norm) return;
  for (Index n = 0; n < rows.rows(); ++n) {
    S squares(0);
    for (Index k = 0; k < rows.cols(); ++k) squares += rows(n, k) * rows(n, k);
    const S size = sqrt(S(squares / S(rows.cols()) + S(norm->epsilon)));
    for (Index k = 0; k < rows.cols(); ++k) rows(n, k) = rows(n, k) * gain(k) / size;
  }
}

// Turns the pairs of a query or key by the angles of its position, times the gain [N1].
template <class S>
void turn(RowVector<S>& row, Index position, const Rotary& rotary) {
  using std::cos;
  using std::sin;
  for (Index p = 0; p < rotary.pairs(); ++p) {
    const auto [first, second] = rotary.columns(p);
    const S angle = S(rotary.frequencies[p]) * S(position);
    const S x = row(first);
    const S y = row(second);
    row(first) = S(rotary.gain) * (x * cos(angle) - y * sin(angle));
    row(second) = S(rotary.gain) * (x * sin(angle) + y * cos(angle));
  }
}

template <class S>
void turn_all(Matrix<S>& rows, const Rotary& rotary) {
  for (Index n = 0; n < rows.rows(); ++n) {
    RowVector<S> row = rows.row(n);
    turn<S>(row, n, rotary);
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

template <class S>
Matrix<S> mix(const Matrix<S>& queries, const Matrix<S>& keys, const Matrix<S>& values,
              const RowVector<S>& sink, Index head, const AttentionConfig& config) {
  Matrix<S> mixed(queries.rows(), values.cols());
  for (Index n = 0; n < queries.rows(); ++n) {
    RowVector<S> logits = S(config.scale) * (queries.row(n) * keys.transpose());
    std::vector<bool> seen;
    for (Index m = 0; m < keys.rows(); ++m) {
      if (!config.slopes.empty()) logits(m) += S(config.slopes[head]) * S(m - n);
      logits(m) = capped<S>(logits(m), config);
      seen.push_back(sees(config, n, m));
    }
    mixed.row(n) = softmax<S>(logits, seen, sink) * values;
  }
  return mixed;
}

}  // namespace

template <ForwardScalar S>
Matrix<S> attend(const AttentionConfig& config, const AttentionWeights<S>& weights, const Matrix<S>& tokens) {
  require_fits(weights, config);
  require_same_size("the tokens and the model", tokens.cols(), config.model_width);
  Matrix<S> output = Matrix<S>::Zero(tokens.rows(), config.model_width);
  Index head = 0;
  for (const KvGroup<S>& group : weights.groups) {
    Matrix<S> keys = project(tokens, group.key, group.key_bias);
    normalize_all(keys, config.qk_norm, weights.key_gain);
    turn_all(keys, config.rotary);
    const Matrix<S> values = project(tokens, group.value, group.value_bias);
    for (const QueryHead<S>& reader : group.readers) {
      Matrix<S> queries = project(tokens, reader.query, reader.query_bias);
      normalize_all(queries, config.qk_norm, weights.query_gain);
      turn_all(queries, config.rotary);
      output += mix<S>(queries, keys, values, reader.sink, head++, config) * reader.output;
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
