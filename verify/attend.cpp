#include "verify/attend.hpp"

#include <cmath>

#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

template <class S>
Matrix<S> project(const Matrix<S>& tokens, const Matrix<S>& weight, const RowVector<S>& bias) {
  Matrix<S> result = tokens * weight;
  if (bias.size() > 0) result.rowwise() += bias;
  return result;
}

// Softmax over the logits row(0..seen-1); what is not seen gets weight zero.
template <class S>
RowVector<S> softmax(const RowVector<S>& logits, Index seen) {
  using std::exp;
  RowVector<S> weights = RowVector<S>::Zero(logits.size());
  const S largest = logits.head(seen).maxCoeff();
  for (Index m = 0; m < seen; ++m) weights(m) = exp(S(logits(m) - largest));
  return weights / weights.sum();
}

template <class S>
Matrix<S> mix(const Matrix<S>& queries, const Matrix<S>& keys, const Matrix<S>& values,
              const AttentionConfig& config) {
  Matrix<S> mixed(queries.rows(), values.cols());
  for (Index n = 0; n < queries.rows(); ++n) {
    const RowVector<S> logits = S(config.scale) * (queries.row(n) * keys.transpose());
    const Index seen = config.causal ? n + 1 : keys.rows();
    mixed.row(n) = softmax<S>(logits, seen) * values;
  }
  return mixed;
}

}  // namespace

template <RealScalar S>
Matrix<S> attend(const AttentionConfig& config, const AttentionWeights<S>& weights, const Matrix<S>& tokens) {
  require_fits(weights, config);
  require_same_size("the tokens and the model", tokens.cols(), config.model_width);
  Matrix<S> output = Matrix<S>::Zero(tokens.rows(), config.model_width);
  for (const KvGroup<S>& group : weights.groups) {
    const Matrix<S> keys = project(tokens, group.key, group.key_bias);
    const Matrix<S> values = project(tokens, group.value, group.value_bias);
    for (const QueryHead<S>& reader : group.readers) {
      const Matrix<S> queries = project(tokens, reader.query, reader.query_bias);
      output += mix<S>(queries, keys, values, config) * reader.output;
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

}  // namespace attnsym
