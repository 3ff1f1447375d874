#include "checkpoint/model_config.hpp"

#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/layout.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/strict_json.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

using Json = nlohmann::json;

constexpr Index largest_size = Index{1} << 31;

// The keys of one config.json, with messages that name file, key and value.
class Keys {
 public:
  Keys(const Json& json, std::string_view name) : json_(json), name_(name) {}

  Index size(std::string_view key) const {
    if (const std::optional<Index> value = optional_size(key)) return *value;
    fail(in_quotes(key) + " is missing, expected a positive integer");
  }

  /// Absent and null mean the same in these files.
  std::optional<Index> optional_size(std::string_view key) const {
    const Json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_number_integer() || *value < 1 || *value > largest_size) {
      refuse(key, *value, "a positive integer up to 2^31");
    }
    return value->get<Index>();
  }

  std::optional<std::string> optional_text(std::string_view key) const {
    const Json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_string()) refuse(key, *value, "a string");
    return value->get<std::string>();
  }

  /// @throws FormatError if the key says what this reader would ignore; false and null say nothing.
  void refuse_feature(std::string_view key, const std::string& reason) const {
    const Json* value = find(key);
    if (value && *value != false) fail(in_quotes(key) + " is " + in_quotes(value->dump()) + ": " + reason);
  }

  bool flag(std::string_view key) const {
    const Json* value = find(key);
    if (!value) return false;
    if (!value->is_boolean()) refuse(key, *value, "true or false");
    return value->get<bool>();
  }

  [[noreturn]] void fail(const std::string& reason) const { throw FormatError(name_ + ": " + reason); }

 private:
  const Json* find(std::string_view key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  [[noreturn]] void refuse(std::string_view key, const Json& value, const std::string& expected) const {
    fail(in_quotes(key) + " is " + in_quotes(value.dump()) + ", expected " + expected);
  }

  const Json& json_;
  std::string name_;
};

const Layout& require_layout(const Keys& keys) {
  std::vector<std::string> model_types;
  for (const Layout& layout : layouts()) model_types.emplace_back(layout.model_type);
  const std::string known = joined(model_types, ", ");
  const std::optional<std::string> model_type = keys.optional_text("model_type");
  if (!model_type) keys.fail("'model_type' is missing, expected one of: " + known);
  const Layout* layout = find_layout(*model_type);
  if (!layout) keys.fail("'model_type' is " + in_quotes(*model_type) + ", expected one of: " + known);
  return *layout;
}

Index head_dim(const Keys& keys, const Layout& layout, Index hidden_size, Index heads) {
  if (const std::optional<Index> given = keys.optional_size(layout.keys.head_dim)) return *given;
  if (hidden_size % heads != 0) {
    keys.fail(in_quotes(layout.keys.hidden_size) + " " + std::to_string(hidden_size) +
              " does not divide into " + std::to_string(heads) + " heads");
  }
  return hidden_size / heads;
}

std::string require_absolute_positions(const Keys& keys) {
  std::string positions = keys.optional_text("position_embedding_type").value_or("absolute");
  if (positions == "absolute") return positions;
  keys.fail("'position_embedding_type' is " + in_quotes(positions) +
            ", expected 'absolute': tables of relative positions are multiplied with queries and keys, which "
            "breaks "
            "their gauge, and are not supported yet");
}

}  // namespace

ModelConfig parse_model_config(std::string_view json, std::string_view name) {
  require_strict_json(json, name);
  const Json document = Json::parse(json);
  const Keys keys(document, name);
  if (!document.is_object()) keys.fail("expected a JSON object");

  const Layout& layout = require_layout(keys);
  ModelConfig config;
  config.model_type = layout.model_type;
  config.layers = keys.size(layout.keys.layers);
  config.hidden_size = keys.size(layout.keys.hidden_size);
  config.heads = keys.size(layout.keys.heads);
  config.kv_heads = keys.optional_size(layout.keys.kv_heads).value_or(config.heads);
  config.head_dim = head_dim(keys, layout, config.hidden_size, config.heads);
  config.position_embedding_type = require_absolute_positions(keys);
  keys.refuse_feature("add_cross_attention", "cross-attention is not supported");
  keys.refuse_feature("is_encoder_decoder", "models of an encoder and a decoder are not supported");
  keys.refuse_feature("quantization_config", "quantized weights are not supported");
  config.causal = keys.flag("is_decoder");
  if (config.heads % config.kv_heads != 0) {
    keys.fail(in_quotes(layout.keys.kv_heads) + " is " + std::to_string(config.kv_heads) +
              ", expected a divisor of the " + std::to_string(config.heads) + " heads");
  }
  return config;
}

}  // namespace attnsym
