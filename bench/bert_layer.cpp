#include "bench/bert_layer.hpp"

#include "symmetry/random.hpp"

namespace attnsym::bench {

AttentionConfig bert_config(Index model_width, Index heads) {
  AttentionConfig config;
  config.model_width = model_width;
  config.heads = config.groups = heads;
  config.key_width = config.value_width = model_width / heads;
  config.query_bias = config.key_bias = config.value_bias = config.output_bias = true;
  return config;
}

AttentionWeights<double> random_weights(const AttentionConfig& config) {
  const Index d = config.model_width;
  const Index n = config.key_width;
  AttentionWeights<double> weights;
  for (Index head = 0; head < config.heads; ++head) {
    weights.groups.push_back({Matrix<double>(d, n),
                              Matrix<double>(d, n),
                              RowVector<double>(n),
                              RowVector<double>(n),
                              {{Matrix<double>(d, n), Matrix<double>(n, d), RowVector<double>(n)}}});
  }
  weights.output_bias.resize(d);
  Random random(1);
  for_each_slot(weights, [&](auto& slot) {
    for (Index i = 0; i < slot.size(); ++i) slot(i) = random.normal();
  });
  return weights;
}

Matrix<double> random_matrix(Index rows, Index cols) {
  Random random(2);
  Matrix<double> matrix(rows, cols);
  for (Index i = 0; i < matrix.size(); ++i) matrix(i) = random.normal();
  return matrix;
}

}  // namespace attnsym::bench
