#pragma once

#include "symmetry/transformer_weights.hpp"
#include "tests/support/random_module.hpp"

namespace attnsym::testing {

/// A small model with everything on that its kind has: two blocks, D 6, two heads of 2, 7 neurons, 11 tokens.
inline TransformerConfig small_transformer(NormKind norm, NormPlacement placement) {
  TransformerConfig config;
  config.model_width = 6;
  config.vocabulary = 11;
  config.positions = 9;
  config.norm = norm;
  config.norm_epsilon = 1e-5;
  config.placement = placement;
  config.final_norm = placement != NormPlacement::After;
  config.mlp = {.width = 7, .activation = Activation::GeluTanh};
  AttentionConfig attention{.model_width = 6, .heads = 2, .groups = 2, .key_width = 2, .value_width = 2};
  attention.causal = true;
  attention.scale = 0.7;
  if (norm == NormKind::Layer) {
    attention.query_bias = attention.key_bias = attention.value_bias = attention.output_bias = true;
    config.mlp.input_bias = config.mlp.output_bias = true;
  }
  config.attention = {attention, attention};
  return config;
}

/// Fixed pseudo-random weights: matrices of size one, gains around one.
inline TransformerWeights<double> random_transformer(const TransformerConfig& config, std::uint64_t seed) {
  TransformerWeights<double> weights;
  const auto matrix = [&](bool present, Index rows, Index cols) {
    return present ? fixed_probe<double>(rows, cols, seed = seed * 31 + 7) : Matrix<double>(0, cols);
  };
  const auto row = [&](bool present, Index size) {
    return RowVector<double>(matrix(true, 1, present ? size : 0));
  };
  const Index d = config.model_width;
  const auto norm_of = [&](bool present, Index width) {
    Norm<double> result{row(present, width), row(present && config.norm == NormKind::Layer, width)};
    result.gain = (result.gain.array() / 2 + 1).matrix().eval();
    result.bias /= 2;
    return result;
  };
  const auto norm = [&](bool present) { return norm_of(present, d); };
  weights.embedding = matrix(true, config.vocabulary, d);
  weights.positions = matrix(config.positions > 0, config.positions, d);
  weights.token_types = matrix(config.token_types > 0, config.token_types, d);
  weights.embedding_norm = norm(config.embedding_norm);
  const MlpConfig& mlp = config.mlp;
  for (const AttentionConfig& attention : config.attention) {
    Block<double> block;
    block.attention_input = norm(config.norms_before());
    block.attention_output = norm(config.norms_behind());
    block.mlp_input = norm(config.norms_before() && !config.shared_norm);
    block.mlp_output = norm(config.norms_behind());
    block.attention = random_weights<double>(attention, seed = seed * 31 + 7);
    block.mlp = {matrix(true, d, mlp.width),
                 mlp.gated ? matrix(true, d, mlp.width) : Matrix<double>(),
                 matrix(true, mlp.width, d),
                 row(mlp.input_bias, mlp.width),
                 row(mlp.input_bias && mlp.gated, mlp.width),
                 row(mlp.output_bias, d)};
    weights.blocks.push_back(std::move(block));
  }
  weights.final_norm = norm(config.final_norm);
  const auto transform = [&](const TransformConfig& one) {
    return Transform<double>{one.width > 0 ? matrix(true, d, one.width) : Matrix<double>(),
                             row(one.width > 0, one.width), norm_of(one.norm, one.width)};
  };
  const auto width_behind = [&](const TransformConfig& one) { return one.width > 0 ? one.width : d; };
  weights.unembedding =
      matrix(config.head == Head::Own, config.vocabulary, width_behind(config.head_transform));
  weights.head_bias = row(config.head_bias, config.vocabulary);
  weights.head_transform = transform(config.head_transform);
  for (const TaskConfig& task : config.tasks) {
    weights.tasks.push_back({transform(task.transform),
                             matrix(task.outputs > 0, width_behind(task.transform), task.outputs),
                             row(task.bias, task.outputs)});
  }
  return weights;
}

/// The largest errors that rounding to this unit roundoff may have left.
inline TransformerWeights<double> radii(TransformerWeights<double> weights, double unit) {
  for_each_transformer_slot(weights, [&](auto& slot) { slot = unit * slot.cwiseAbs().eval(); });
  return weights;
}

/// The weights as a file with this unit roundoff would hold them.
inline TransformerWeights<double> rounded(TransformerWeights<double> weights, double unit) {
  for_each_transformer_slot(weights, [&](auto& slot) {
    for (Index i = 0; i < slot.size(); ++i) slot.data()[i] = rounded(slot.data()[i], unit);
  });
  return weights;
}

}  // namespace attnsym::testing
