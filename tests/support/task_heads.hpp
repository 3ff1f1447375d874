#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/support/random_transformer.hpp"

namespace attnsym::testing {

/// Small models that end in heads of tasks, as transformers' classes have them.
inline std::vector<std::pair<std::string, TransformerConfig>> task_head_configs() {
  using enum NormPlacement;
  const TaskConfig pooled{ReadTokens::First, {6, Activation::Tanh, false}, 0, false};
  const TaskConfig of_pooled{ReadTokens::First, {6, Activation::Tanh, false}, 3, true};
  TransformerConfig bert = small_transformer(NormKind::Layer, After);
  bert.embedding_norm = true;
  bert.token_types = 2;
  TransformerConfig masked = bert;
  masked.head = Head::Tied;
  masked.head_bias = true;
  masked.head_transform = {6, Activation::Gelu, true};
  TransformerConfig untied = masked;
  untied.head = Head::Own;
  untied.head_transform.width = 5;
  TransformerConfig pretraining = masked;
  pretraining.tasks = {of_pooled};
  TransformerConfig pooler = bert;
  pooler.head = Head::None;
  pooler.tasks = {pooled};
  TransformerConfig classifier = bert;
  classifier.head = Head::Tasks;
  classifier.tasks = {of_pooled};
  TransformerConfig tokens = classifier;
  tokens.tasks = {{ReadTokens::All, {}, 4, true}};
  TransformerConfig score = small_transformer(NormKind::Rms, Before);
  score.positions = 0;
  score.head = Head::Tasks;
  score.tasks = {{ReadTokens::Last, {}, 3, false}};
  TransformerConfig centred = small_transformer(NormKind::Layer, Before);
  centred.head = Head::Tasks;
  centred.tasks = {{ReadTokens::Last, {}, 3, false}};
  TransformerConfig image = small_transformer(NormKind::Layer, Before);
  image.class_token = true;
  image.token_types = 2;
  image.head = Head::Tasks;
  image.tasks = {{ReadTokens::First, {}, 3, true}};
  for (AttentionConfig& attention : image.attention) attention.causal = false;
  return {{"masked words", masked},
          {"masked words, another decoder", untied},
          {"pretraining", pretraining},
          {"stream and pooler", pooler},
          {"pooled classes", classifier},
          {"classes of tokens", tokens},
          {"score", score},
          {"score behind a LayerNorm", centred},
          {"classes of images", image}};
}

}  // namespace attnsym::testing
