#include "checkpoint/layout.hpp"

#include <algorithm>
#include <charconv>

namespace attnsym {
namespace {

// BERT and RoBERTa differ in the name of the model and in nothing that is read here. Their blocks are
// post-norm: what attention reads is the norm at the end of the block before.
Layout bert_like(std::string_view model_type, std::string_view prefix) {
  return {
      .model_type = model_type,
      .prefixes = {"", prefix},
      .keys = {.layers = "num_hidden_layers",
               .hidden_size = "hidden_size",
               .heads = "num_attention_heads",
               .kv_heads = "num_key_value_heads",
               .head_dim = "head_dim"},
      .query = {"encoder.layer.{layer}.attention.self.query.weight",
                "encoder.layer.{layer}.attention.self.query.bias"},
      .key = {"encoder.layer.{layer}.attention.self.key.weight",
              "encoder.layer.{layer}.attention.self.key.bias"},
      .value = {"encoder.layer.{layer}.attention.self.value.weight",
                "encoder.layer.{layer}.attention.self.value.bias"},
      .output = {"encoder.layer.{layer}.attention.output.dense.weight",
                 "encoder.layer.{layer}.attention.output.dense.bias"},
      // gamma and beta: files converted from TensorFlow in 2018 and 2019
      .first_norm = {{"embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma"},
                     {"embeddings.LayerNorm.bias", "embeddings.LayerNorm.beta"}},
      .norm = {{"encoder.layer.{previous}.output.LayerNorm.weight",
                "encoder.layer.{previous}.output.LayerNorm.gamma"},
               {"encoder.layer.{previous}.output.LayerNorm.bias",
                "encoder.layer.{previous}.output.LayerNorm.beta"}},
  };
}

void replace(std::string& text, std::string_view what, Index number) {
  const std::size_t at = text.find(what);
  if (at != std::string::npos) text.replace(at, what.size(), std::to_string(number));
}

}  // namespace

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all{bert_like("bert", "bert."), bert_like("roberta", "roberta.")};
  return all;
}

const Layout* find_layout(std::string_view model_type) {
  const auto found = std::ranges::find(layouts(), model_type, &Layout::model_type);
  return found != layouts().end() ? &*found : nullptr;
}

std::string tensor_name(std::string_view prefix, std::string_view pattern, Index layer) {
  std::string name = std::string(prefix) + std::string(pattern);
  replace(name, "{layer}", layer);
  replace(name, "{previous}", layer - 1);
  return name;
}

std::optional<Index> layer_of(std::string_view name, std::string_view prefix, std::string_view pattern) {
  const std::size_t at = prefix.size() + pattern.find("{layer}");
  if (at >= name.size()) return std::nullopt;
  Index layer = 0;
  const auto digits = std::from_chars(name.data() + at, name.data() + name.size(), layer);
  if (digits.ec != std::errc() || tensor_name(prefix, pattern, layer) != name) return std::nullopt;
  return layer;
}

}  // namespace attnsym
