#include "checkpoint/model_config.hpp"

#include <algorithm>
#include <cmath>

#include "checkpoint/config_keys.hpp"
#include "checkpoint/model_classes.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/rotary_config.hpp"

namespace attnsym {
namespace {

std::string names_of(const ConfigValue& value) {
  std::vector<std::string> quoted;
  for (const std::string& key : value.keys) quoted.push_back(in_quotes(key));
  return joined(quoted, " or ");
}

std::optional<Index> optional_size(const JsonObject& config, const ConfigValue& value) {
  for (const std::string& key : value.keys) {
    if (const auto size = config.size(key)) return size;
  }
  if (!value.fixed) return std::nullopt;
  const auto fixed = static_cast<Index>(std::clamp(*value.fixed, 0.0, 0x1p31));
  if (fixed < 1 || static_cast<double>(fixed) != *value.fixed)
    config.fail("the layout fixes a size at " + std::to_string(*value.fixed) +
                ", expected a positive integer");
  return fixed;
}

Index size(const JsonObject& config, const ConfigValue& value) {
  if (const auto found = optional_size(config, value)) return *found;
  config.fail(names_of(value) + " is missing, expected a positive integer");
}

void read_sizes(ModelConfig& model, const JsonObject& config, const SizeKeys& keys) {
  model.layers = size(config, keys.layers);
  model.hidden_size = size(config, keys.hidden_size);
  model.heads = size(config, keys.heads);
  model.kv_heads = optional_size(config, keys.kv_heads).value_or(model.heads);
  const auto head_dim = optional_size(config, keys.head_dim);
  if (!head_dim && model.hidden_size % model.heads != 0) {
    config.fail(names_of(keys.hidden_size) + " " + std::to_string(model.hidden_size) +
                " does not divide into " + std::to_string(model.heads) + " heads");
  }
  model.head_dim = head_dim.value_or(model.hidden_size / model.heads);
  // Classes that have no key for these make them of others.
  const auto require_same = [&](std::string_view key, const ConfigValue& read, Index expected) {
    const auto given = read.keys.empty() ? config.size(key) : std::nullopt;
    if (given.value_or(expected) != expected)
      config.refuse(key, std::to_string(expected) + ", which is what models of this type have");
  };
  require_same("num_key_value_heads", keys.kv_heads, model.kv_heads);
  require_same("head_dim", keys.head_dim, model.head_dim);
  constexpr Index most = 1 << 16;
  if (model.heads > most || model.head_dim > most)
    config.fail(std::to_string(model.heads) + " heads of width " + std::to_string(model.head_dim) +
                " are more than the " + std::to_string(most) + " that are supported");
  if (model.heads % model.kv_heads != 0) {
    config.fail(names_of(keys.kv_heads) + " is " + std::to_string(model.kv_heads) +
                ", expected a divisor of the " + std::to_string(model.heads) + " heads");
  }
}

// To 8 significant bits, ties to even.
double rounded_to_bfloat16(double value) {
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8);
}

// 0 where there is none.
double softcap_of(const JsonObject& config, const ConfigValue& value) {
  const auto cap = number_of(config, value);
  if (cap && !(*cap > 0)) config.fail(names_of(value) + " is not positive");
  return cap.value_or(0);
}

// layer_types says it of every layer; a class that has no table for it has one kind of layers.
void read_layer_types(ModelConfig& model, const JsonObject& config, const Layout& layout) {
  model.layer_types = config.texts("layer_types").value_or(std::vector<std::string>{});
  if (model.layer_types.empty()) return;
  if (static_cast<Index>(model.layer_types.size()) != model.layers) {
    config.fail("'layer_types' has " + std::to_string(model.layer_types.size()) + " entries, expected " +
                std::to_string(model.layers));
  }
  const bool has_window = model.sliding.window > 0;
  const bool may_mix = has_window && layout.window_layers != WindowLayers::All;
  for (const std::string& type : model.layer_types) {
    const bool is_full = type == "full_attention";
    if (!is_full && type != "sliding_attention")
      config.fail("'layer_types' names " + in_quotes(type) +
                  ", expected full_attention or sliding_attention");
    if (!is_full && !has_window) config.fail("'layer_types' names layers with a window, and there is none");
    if (is_full && has_window && !may_mix)
      config.fail("'layer_types' names layers without a window, which " + layout.model_type +
                  " models do not have beside one: libraries take it for another type or ignore it");
  }
}

void read_window(ModelConfig& model, const JsonObject& config, const Layout& layout) {
  const bool wanted = layout.window_flag.empty() || config.flag(layout.window_flag).value_or(false);
  const auto window = wanted ? optional_size(config, layout.window) : std::nullopt;
  model.window_layers = layout.window_layers;
  model.sliding.window = window.value_or(0);
  read_layer_types(model, config, layout);
  if (!window) return;
  // A window that is seen from both sides includes its ends.
  if (model.sliding.causal != layout.causal) ++model.sliding.window;
  if (layout.window_layers == WindowLayers::FromMaxWindowLayers) {
    const auto first = config.size("max_window_layers", 0);  // 0 where all layers have the window
    if (!first) config.fail("'max_window_layers' is missing, expected an integer from 0");
    model.window_parameter = *first;
  }
  if (layout.window_layers == WindowLayers::AllButEveryPattern)
    model.window_parameter = size(config, {{"sliding_window_pattern"}, {}});
}

// Where masks are causal, is_causal can say that they are not; only null does not count as absent there.
bool is_causal(const JsonObject& config, const Layout& layout) {
  const bool by_class =
      layout.causal_key.empty() ? layout.causal : config.flag(layout.causal_key).value_or(false);
  if (!by_class || !config.contains("is_causal")) return by_class;
  return config.flag("is_causal").value_or(false);
}

// What all layers have in common.
ScoreRule common_rule(const ModelConfig& model, const JsonObject& config, const Layout& layout) {
  ScoreRule rule;
  rule.causal = is_causal(config, layout);
  const double scalar = number_of(config, layout.query_scalar).value_or(static_cast<double>(model.head_dim));
  if (!(scalar > 0)) config.fail(names_of(layout.query_scalar) + " is not positive");
  const bool unscaled = !layout.scaled_flag.empty() && !config.flag(layout.scaled_flag).value_or(true);
  rule.scale = unscaled ? 1 : 1 / std::sqrt(scalar);
  rule.softcap = softcap_of(config, layout.softcap);
  if (layout.positions.kind == PositionKeys::Kind::Alibi) {
    rule.slopes = alibi_slopes(model.heads);
    for (double& slope : rule.slopes)
      slope = layout.positions.scaled_slopes ? rounded_to_bfloat16(slope) * rule.scale : slope;
  }
  return rule;
}

void read_scores(ModelConfig& model, const JsonObject& config, const Layout& layout) {
  model.full = model.sliding = common_rule(model, config, layout);
  read_window(model, config, layout);
  if (!layout.inverse_layer_flag.empty())
    model.scale_by_inverse_layer = config.flag(layout.inverse_layer_flag).value_or(false);
  const PositionKeys& positions = layout.positions;
  if (positions.kind != PositionKeys::Kind::Rotary) return;
  const bool by_layer = !positions.local_base.keys.empty();
  model.full.rotary = rotary_positions(config, positions, positions.base, model.head_dim,
                                       by_layer ? "full_attention" : "", true);
  model.sliding.rotary = by_layer ? rotary_positions(config, positions, positions.local_base, model.head_dim,
                                                     "sliding_attention", false)
                                  : model.full.rotary;
}

void refuse_unsupported(const JsonObject& config) {
  const auto refuse = [&](std::string_view key, const char* reason) {
    const std::string value = config.dump(key);
    if (value != "null" && value != "false")
      config.fail(in_quotes(key) + " is " + in_quotes(value) + ": " + reason);
  };
  refuse("add_cross_attention", "cross-attention is not supported");
  refuse("is_encoder_decoder", "models of an encoder and a decoder are not supported");
  refuse("quantization_config", "quantized weights are not supported");
}

BiasRule bias_rule(const JsonObject& config, const std::optional<Switch>& flag) {
  if (!flag || (flag->key.empty() && flag->fixed)) return BiasRule::AsStored;  // absent, it counts as zero
  if (flag->key.empty()) return BiasRule::Never;
  return config.flag(flag->key).value_or(false) ? BiasRule::Always : BiasRule::Never;
}

std::vector<StatedSize> stated_sizes(const JsonObject& config, const StatedSizes& keys) {
  using What = StatedSize::What;
  std::vector<StatedSize> result;
  for (const auto& [what, value] : {std::pair{What::Vocabulary, &keys.vocabulary},
                                    {What::Mlp, &keys.mlp},
                                    {What::Positions, &keys.positions},
                                    {What::TokenTypes, &keys.token_types},
                                    {What::Channels, &keys.channels},
                                    {What::Patch, &keys.patch},
                                    {What::Image, &keys.image}}) {
    const auto key =
        std::ranges::find_if(value->keys, [&](const std::string& each) { return config.has(each); });
    if (key != value->keys.end()) result.push_back({what, *key, config.sizes(*key)});
  }
  return result;
}

// -1 stands for none in older files.
std::optional<Index> pad_token(const JsonObject& config, const std::string& model_type) {
  const std::vector<std::string> keys = config.keys();
  if (std::ranges::find(keys, "pad_token_id") == keys.end()) return default_padding(model_type);
  const double token = config.number("pad_token_id").value_or(-1);
  return token >= 0 && token < 0x1p31 ? std::optional(static_cast<Index>(token)) : std::nullopt;
}

std::optional<Index> max_positions(const JsonObject& config) {
  const auto count = config.number("max_position_embeddings");
  if (!count || *count < 1 || *count >= 0x1p31) return std::nullopt;
  return static_cast<Index>(std::ceil(*count));
}

std::string first_architecture(const JsonObject& document) {
  const auto names = document.texts("architectures");
  return names && !names->empty() ? names->front() : std::string();
}

ModelConfig::Outside read_outside(const JsonObject& config, const ModelLayout& layout) {
  ModelConfig::Outside outside;
  const auto flag = [&](const std::string& key) { return !key.empty() && config.flag(key).value_or(false); };
  outside.activation = config.text(layout.activation_key).value_or("");
  const auto epsilon = number_of(config, layout.norm_epsilon);
  if (!epsilon && !layout.norm_epsilon.keys.empty())
    config.fail(names_of(layout.norm_epsilon) + " is missing, expected a number");
  outside.norm_epsilon = epsilon.value_or(0);
  if (outside.norm_epsilon < 0) config.fail(names_of(layout.norm_epsilon) + " is negative");
  outside.softcap = softcap_of(config, layout.softcap);
  outside.parallel = layout.parallel_key.empty() ? layout.parallel : flag(layout.parallel_key);
  if (!layout.parallel_norms_key.empty()) {
    outside.parallel_norms = config.size(layout.parallel_norms_key).value_or(2);
    if (*outside.parallel_norms > 2) config.refuse(layout.parallel_norms_key, "1 or 2");
  }
  outside.tied = !layout.heads.empty() && flag("tie_word_embeddings");
  outside.tied_predictions = config.flag("tie_word_embeddings").value_or(true);
  outside.pooler_activation = config.text("pooler_act").value_or("tanh");
  if (!layout.padding_key.empty()) {
    outside.padding = config.size(layout.padding_key, 0);
    if (!outside.padding) config.fail(in_quotes(layout.padding_key) + " is missing, expected a token");
  }
  if (flag(layout.refused_flag)) outside.refused = layout.refused_flag;
  return outside;
}

bool is_for(std::string_view layout_json, std::string_view layout_name, const JsonObject& config) {
  if (layout_json.empty()) return false;
  const auto model_type = JsonObject::parse(layout_json, layout_name).text("model_type");
  return !config.has("model_type") || config.text("model_type") == model_type;
}

}  // namespace

ScoreRule ModelConfig::scores(Index layer) const {
  ScoreRule rule = is_sliding(layer) ? sliding : full;
  if (scale_by_inverse_layer) rule.scale /= static_cast<double>(layer + 1);
  if (longest_input && rule.window >= *longest_input) rule.window = 0;
  return rule;
}

bool ModelConfig::is_sliding(Index layer) const {
  if (sliding.window == 0) return false;
  if (!layer_types.empty()) return layer_types[layer] == "sliding_attention";
  switch (window_layers) {
    case WindowLayers::All:
      return true;
    case WindowLayers::Even:
      return layer % 2 == 0;
    case WindowLayers::FromMaxWindowLayers:
      return layer >= window_parameter;
    case WindowLayers::AllButEveryPattern:
      return (layer + 1) % window_parameter != 0;
  }
  return false;
}

ParsedConfig parse_model_config(std::string_view json, std::string_view name, std::string_view layout_json,
                                std::string_view layout_name) {
  const JsonObject document = JsonObject::parse(json, name);
  const bool is_given = is_for(layout_json, layout_name, document);
  FamilyConfig family = is_given ? parse_layout(layout_json, layout_name, document) : find_family(document);
  ParsedConfig parsed{{}, std::move(family.layout), !is_given};
  parsed.texts = std::string(json) + '\0' + std::string(layout_json);
  parsed.config.model_type = parsed.layout.model_type;
  refuse_unsupported(document);
  read_sizes(parsed.config, family.config, parsed.layout.sizes);
  read_scores(parsed.config, family.config, parsed.layout);
  const BiasSwitches& biases = parsed.layout.biases;
  parsed.config.biases = {bias_rule(family.config, biases.inputs), bias_rule(family.config, biases.output),
                          bias_rule(family.config, biases.mlp), bias_rule(family.config, biases.head)};
  parsed.config.max_positions = max_positions(family.config);
  parsed.config.norm_epsilon = number_of(family.config, parsed.layout.norm_epsilon).value_or(0);
  if (parsed.config.norm_epsilon < 0)
    family.config.fail(names_of(parsed.layout.norm_epsilon) + " is negative");
  if (parsed.layout.model) {
    parsed.config.outside = read_outside(family.config, *parsed.layout.model);
    parsed.config.outside->stated = stated_sizes(family.config, parsed.layout.stated);
    for (const char* key : {"vision_config", "mm_tokens_per_image", "image_token_index", "image_token_id"})
      parsed.config.outside->images += document.dump(key) + "\n";
    parsed.config.outside->architecture = first_architecture(document);
    parsed.config.outside->pad_token = pad_token(family.config, parsed.config.model_type);
  }
  require_understood(document, family.config, parsed.layout);
  return parsed;
}

}  // namespace attnsym
