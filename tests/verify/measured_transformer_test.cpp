// The dimensions of N12, measured: null spaces of Jacobians of tiny models, against TransformerGroup and a
// table.
#include "verify/measured_transformer.hpp"

#include <gtest/gtest.h>

#include "symmetry/random.hpp"

namespace attnsym {
namespace {

struct Row {
  const char* name;
  TransformerConfig config;
  Index dimension;
  Outputs outputs = Outputs::Logits;
  Index tokens = 5;
};

// Two blocks, D 5, two heads of 2, 6 neurons, 9 tokens.
TransformerConfig tiny(NormKind norm, NormPlacement placement) {
  TransformerConfig config;
  config.model_width = 5;
  config.vocabulary = 9;
  config.norm = norm;
  config.placement = placement;
  config.final_norm = placement != NormPlacement::After;
  config.mlp = {.width = 6, .activation = Activation::GeluTanh};
  AttentionConfig attention{.model_width = 5, .heads = 2, .groups = 2, .key_width = 2, .value_width = 2};
  attention.causal = true;
  attention.scale = 0.7;
  if (norm == NormKind::Layer) {
    attention.query_bias = attention.key_bias = attention.value_bias = attention.output_bias = true;
    config.mlp.input_bias = config.mlp.output_bias = true;
  }
  config.attention = {attention, attention};
  return config;
}

TransformerConfig rotary(TransformerConfig config) {
  for (AttentionConfig& attention : config.attention) attention.rotary.frequencies = {0.9};
  return config;
}

TransformerConfig gated(TransformerConfig config, Activation activation = Activation::Silu) {
  config.mlp.gated = true;
  config.mlp.activation = activation;
  return config;
}

template <class T>
TransformerConfig with(TransformerConfig config, T TransformerConfig::*member, T value) {
  config.*member = value;
  return config;
}

// As many positions as this, at random, that are no weights.
TransformerConfig with_fixed_positions(TransformerConfig config, Index count) {
  config.positions = count;
  const Matrix<double> rows = fixed_probe<double>(config.model_width, count, 3);
  config.fixed_positions.assign(rows.data(), rows.data() + rows.size());
  return config;
}

std::vector<Row> rows() {
  using enum NormPlacement;
  const TransformerConfig rms = tiny(NormKind::Rms, Before);
  const TransformerConfig layer = tiny(NormKind::Layer, Before);
  const TransformerConfig llama = gated(rotary(rms));
  return {
      // The figures up to here are those of an independent measurement in NumPy.
      {"RMS norms before", rms, 68},
      {"Llama", llama, 72},
      {"Llama, probabilities", llama, 77, Outputs::Probabilities},
      {"tied", with(rotary(rms), &TransformerConfig::head, Head::Tied), 45},
      {"norms around", rotary(tiny(NormKind::Rms, Around)), 54},
      {"learned positions", with(rms, &TransformerConfig::positions, Index{5}), 73},
      {"five fixed positions", with_fixed_positions(rms, 5), 57},
      {"three fixed positions", with_fixed_positions(rms, 3), 60, Outputs::Logits, 3},
      {"LayerNorms before", layer, 174},
      {"LayerNorms before, learned positions", with(layer, &TransformerConfig::positions, Index{5}), 183},
      {"LayerNorms behind", tiny(NormKind::Layer, After), 135},
      {"RMS norms behind", tiny(NormKind::Rms, After), 41},
  };
}

// Kinds that no table has: predicted and measured have to agree.
std::vector<Row> more_rows() {
  using enum NormPlacement;
  const TransformerConfig llama = gated(rotary(tiny(NormKind::Rms, Before)));
  TransformerConfig parallel = tiny(NormKind::Layer, Before);
  parallel.parallel = true;
  parallel.vocabulary =
      24;  // of 9 embeddings, which are all that the first MLP sees, it would learn too little
  TransformerConfig shared = parallel;
  shared.shared_norm = shared.head_bias = true;
  shared.attention.pop_back();  // one block; two take ten times as long
  TransformerConfig bert = tiny(NormKind::Layer, After);
  bert.embedding_norm = true;
  bert.positions = 5;
  bert.token_types = 2;
  bert.attention.pop_back();
  TransformerConfig roberta = bert;
  roberta.positions = 7;
  roberta.position_offset = 2;
  TransformerConfig vit = tiny(NormKind::Layer, Before);
  vit.class_token = true;
  vit.positions = 6;
  vit.token_types = 2;
  vit.head = Head::None;
  for (AttentionConfig& attention : vit.attention) attention.causal = false;
  vit.attention.pop_back();
  TransformerConfig masked = bert;
  masked.head = Head::Tied;
  masked.vocabulary = 12;
  masked.head_bias = true;
  masked.head_transform = {5, Activation::GeluTanh, true};
  TransformerConfig untied = masked;
  untied.head = Head::Own;
  untied.head_transform.width = 3;
  const TaskConfig of_pooled{ReadTokens::First, {3, Activation::Tanh, false}, 2, true};
  TransformerConfig pretraining = masked;
  pretraining.tasks = {of_pooled};
  TransformerConfig tokens = bert;
  tokens.head = Head::Tasks;
  tokens.tasks = {{ReadTokens::All, {}, 4, true}};
  TransformerConfig score = llama;
  score.head = Head::Tasks;
  score.tasks = {{ReadTokens::All, {}, 4, false}};
  TransformerConfig centred = tiny(NormKind::Layer, Before);
  centred.attention.pop_back();
  centred.head = Head::Tasks;
  centred.tasks = {{ReadTokens::All, {}, 4, true}};
  return {
      {"masked words", masked, -1},
      {"masked words, another decoder", untied, -1},
      {"masked words and a pooled task", pretraining, -1},
      {"classes of tokens behind LayerNorms", tokens, -1},
      {"classes of tokens behind RMS norms", score, -1},
      {"classes of tokens behind a final LayerNorm", centred, -1},
      {"an epsilon leaves no scale", with(llama, &TransformerConfig::norm_epsilon, 0.01), 71},
      {"RMS norms on branches", rotary(tiny(NormKind::Rms, OnBranch)), -1},
      {"ReLU", with(llama, &TransformerConfig::mlp, MlpConfig{6, Activation::Relu}), -1},
      {"ReGLU", gated(llama, Activation::Relu), -1},
      {"the stream is the output", with(llama, &TransformerConfig::head, Head::None), -1},
      {"side by side behind one norm, a bias of the head", shared, -1},
      {"numbers of patches behind a class token", vit, -1},
      {"LayerNorms behind and on embeddings, positions, token types", bert, -1},
      {"rows of positions that no token has", roberta, -1},
  };
}

class MeasuredTransformer : public ::testing::TestWithParam<Row> {};

TEST_P(MeasuredTransformer, HasThePredictedDimension) {
  const Row& row = GetParam();
  const MeasuredDimension measured =
      measure_dimension(row.config, {.tokens = row.tokens, .outputs = row.outputs});
  if (row.dimension >= 0) {
    EXPECT_EQ(measured.dimension, row.dimension) << row.name;
  }
  EXPECT_EQ(measured.dimension, TransformerGroup(row.config).dimension(row.outputs)) << row.name;
  EXPECT_EQ(measured.parameters, row.config.parameter_count()) << row.name;
  EXPECT_LT(measured.largest_dropped, 1e-12) << row.name;
  EXPECT_GT(measured.smallest_kept, 1e-10) << row.name;
}

INSTANTIATE_TEST_SUITE_P(Table, MeasuredTransformer, ::testing::ValuesIn(rows()));
INSTANTIATE_TEST_SUITE_P(More, MeasuredTransformer, ::testing::ValuesIn(more_rows()));

}  // namespace
}  // namespace attnsym
