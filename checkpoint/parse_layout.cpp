#include <algorithm>
#include <array>
#include <span>

#include "checkpoint/layout.hpp"
#include "checkpoint/printable.hpp"

namespace attnsym {
namespace {

using std::string_view;

// @throws FormatError for a key that this reader would ignore.
void require_known(const JsonObject& object, std::span<const string_view> known, const std::string& place) {
  for (const std::string& key : object.keys()) {
    if (std::ranges::find(known, key) != known.end()) continue;
    const std::vector<std::string> names(known.begin(), known.end());
    object.fail(in_quotes(key) + " in " + place + " means nothing; there are: " + joined(names, ", "));
  }
}

// One of a few words.
template <class Enum, std::size_t Size>
Enum choice(const JsonObject& object, string_view key, Enum otherwise,
            const std::array<std::pair<string_view, Enum>, Size>& words) {
  const std::optional<std::string> text = object.text(key);
  if (!text) return otherwise;
  std::vector<std::string> names;
  for (const auto& [word, value] : words) {
    if (*text == word) return value;
    names.emplace_back(word);
  }
  object.refuse(key, "one of: " + joined(names, ", "));
}

// A key, several keys, or a number.
ConfigValue config_value(const JsonObject& object, string_view key, const ConfigValue& otherwise = {}) {
  if (!object.has(key)) return otherwise;
  ConfigValue value;
  const std::string text = object.dump(key);
  if (text.front() == '"' || text.front() == '[') {
    value.keys = *object.texts(key);
  } else {
    value.fixed = object.number(key);
  }
  return value;
}

std::string pattern(const JsonObject& object, string_view key) {
  std::string text = object.text(key).value_or("");
  const std::size_t at = text.find('{');
  const bool one_place = text.find('{', at + 1) == std::string::npos &&
                         (text.find("{layer}") == at || text.find("{previous}") == at);
  if (at != std::string::npos && !one_place)
    object.refuse(key, "a name with {layer} or {previous} in at most one place");
  return text;
}

LinearNames linear(const JsonObject& object, string_view key) {
  const std::string module = pattern(object, key);
  if (module.empty() || module.find("{layer}") == std::string::npos)
    object.refuse(key, "the name of a module with {layer} in it");
  return {module + ".weight", module + ".bias"};
}

void read_linears(Layout& layout, const JsonObject& object) {
  layout.packing = choice<Packing, 3>(object, "packing", Packing::Separate,
                                      {{{"separate", Packing::Separate},
                                        {"concatenated", Packing::Concatenated},
                                        {"per_group", Packing::PerGroup}}});
  const bool separate = layout.packing == Packing::Separate;
  layout.query = linear(object, separate ? "query" : "query_key_value");
  layout.key = separate ? linear(object, "key") : layout.query;
  layout.value = separate ? linear(object, "value") : layout.query;
  layout.output = linear(object, "output");
  layout.transposed = object.flag("transposed").value_or(false);
  layout.query_norm = pattern(object, "query_norm");
  layout.key_norm = pattern(object, "key_norm");
  if (layout.query_norm.empty() != layout.key_norm.empty())
    object.fail("'query_norm' and 'key_norm' have to be there both or neither");
  layout.norm_epsilon = config_value(object, "norm_epsilon", layout.norm_epsilon);
  layout.norm_over_all_heads = object.flag("norm_over_all_heads").value_or(false);
}

SizeKeys sizes(const JsonObject& object) {
  constexpr std::array<string_view, 5> known{"layers", "hidden_size", "heads", "kv_heads", "head_dim"};
  require_known(object, known, "'sizes'");
  return {config_value(object, "layers"), config_value(object, "hidden_size"), config_value(object, "heads"),
          config_value(object, "kv_heads"), config_value(object, "head_dim")};
}

PositionKeys positions(const JsonObject& object) {
  constexpr std::array<string_view, 7> known{"kind",  "base",          "local_base", "fraction",
                                             "pairs", "scaled_slopes", "types"};
  require_known(object, known, "'positions'");
  using Kind = PositionKeys::Kind;
  PositionKeys keys;
  keys.kind = choice<Kind, 3>(object, "kind", Kind::None,
                              {{{"none", Kind::None}, {"rotary", Kind::Rotary}, {"alibi", Kind::Alibi}}});
  keys.base = config_value(object, "base", keys.base);
  keys.local_base = config_value(object, "local_base");
  keys.fraction = config_value(object, "fraction", keys.fraction);
  keys.pairs = choice<PairLayout, 2>(
      object, "pairs", PairLayout::HalfSplit,
      {{{"half_split", PairLayout::HalfSplit}, {"interleaved", PairLayout::Interleaved}}});
  if (const auto types = object.object("types")) {
    for (const std::string& type : types->keys()) keys.types[type] = types->text(type).value_or("");
  }
  keys.scaled_slopes = object.flag("scaled_slopes").value_or(false);
  return keys;
}

// A flag's name, or true or false.
std::optional<Switch> switch_of(const JsonObject& object, string_view key) {
  if (!object.has(key)) return std::nullopt;
  if (object.dump(key).front() == '"') return Switch{*object.text(key), false};
  return Switch{"", *object.flag(key)};
}

BiasSwitches biases(const JsonObject& object) {
  constexpr std::array<string_view, 4> known{"inputs", "output", "mlp", "head"};
  require_known(object, known, "'biases'");
  return {switch_of(object, "inputs"), switch_of(object, "output"), switch_of(object, "mlp"),
          switch_of(object, "head")};
}

StatedSizes stated_sizes(const JsonObject& object) {
  constexpr std::array<string_view, 7> known{"vocabulary", "mlp",   "positions", "token_types",
                                             "channels",   "patch", "image"};
  require_known(object, known, "'stated'");
  return {config_value(object, "vocabulary"), config_value(object, "mlp"),
          config_value(object, "positions"),  config_value(object, "token_types"),
          config_value(object, "channels"),   config_value(object, "patch"),
          config_value(object, "image")};
}

// Keys of the configuration that are read, and keys that are not.
void read_keys(Layout& layout, const JsonObject& object) {
  if (object.has("neutral")) layout.neutral = *object.texts("neutral");
  if (const auto agree = object.object("agree")) {
    for (const std::string& key : agree->keys()) {
      layout.agree.push_back(*agree->texts(key));
      layout.agree.back().push_back(key);
    }
  }
  for (const char* section : {"when", "defaults", "refuse", "read_as"}) {
    if (const auto members = object.object(section)) {
      for (const std::string& key : members->keys()) layout.named.push_back(key);
    }
  }
}

NormNames norm_names(const JsonObject& object, string_view key, const std::string& kind) {
  NormNames names;
  for (const std::string& module : object.texts(key).value_or(std::vector<std::string>{})) {
    names.gains.push_back(module + ".weight");
    if (kind == "layer") names.biases.push_back(module + ".bias");
  }
  if (kind != "layer") return names;
  // gamma and beta: files converted from TensorFlow in 2018 and 2019
  const std::size_t count = names.gains.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::string module =
        names.gains[i].substr(0, names.gains[i].size() - std::string(".weight").size());
    names.gains.push_back(module + ".gamma");
    names.biases.push_back(module + ".beta");
  }
  return names;
}

void read_norm(Layout& layout, const JsonObject& object) {
  constexpr std::array<string_view, 4> known{"kind", "modules", "first_modules", "gain_offset"};
  require_known(object, known, "'norm'");
  const std::string kind = object.text("kind").value_or("layer");
  if (kind != "layer" && kind != "rms") object.refuse("kind", "one of: layer, rms");
  layout.norm = norm_names(object, "modules", kind);
  layout.first_norm = object.has("first_modules") ? norm_names(object, "first_modules", kind) : layout.norm;
  layout.norm_offset = object.number("gain_offset").value_or(0);
}

// The norms of a model, by place.
void read_norms(ModelLayout& model, const JsonObject& object) {
  constexpr std::array<string_view, norm_places> places{"embedding", "attention_input", "attention_output",
                                                        "mlp_input", "mlp_output",      "final"};
  require_known(object, places, "'norms'");
  const std::string kind = model.norm == NormKind::Layer ? "layer" : "rms";
  for (std::size_t i = 0; i < places.size(); ++i) model.norms[i] = norm_names(object, places[i], kind);
}

void read_mlp(ModelLayout& model, const JsonObject& object) {
  constexpr std::array<string_view, 5> known{"up", "gate", "gate_up", "down", "activation"};
  require_known(object, known, "'mlp'");
  model.packed = object.has("gate_up");
  model.up = linear(object, model.packed ? "gate_up" : "up");
  if (model.packed || object.has("gate")) model.gate = linear(object, model.packed ? "gate_up" : "gate");
  model.down = linear(object, "down");
  model.activation_key = object.text("activation").value_or("");
}

ModelLayout model_layout(const JsonObject& object, const std::string& norm_kind) {
  constexpr std::array<string_view, 18> known{"parallel_norms",
                                              "parallel_shares_norm",
                                              "class_token",
                                              "embedding",
                                              "positions",
                                              "position_offset",
                                              "padding",
                                              "token_types",
                                              "scaled_embedding",
                                              "norm_kind",
                                              "placement",
                                              "norms",
                                              "parallel",
                                              "mlp",
                                              "epsilon",
                                              "softcap",
                                              "head",
                                              "refuse"};
  require_known(object, known, "'model'");
  ModelLayout model;
  const auto table = [&](string_view key) {
    const std::string module = pattern(object, key);
    return module.empty() ? module : module + ".weight";
  };
  model.embedding = table("embedding");
  if (model.embedding.empty()) object.refuse("embedding", "the name of a module");
  model.positions = table("positions");
  model.position_offset = object.size("position_offset").value_or(0);
  model.padding_key = object.text("padding").value_or("");
  model.token_types = table("token_types");
  model.class_token = pattern(object, "class_token");
  if (!model.class_token.empty()) {
    model.patch_bias = pattern(object, "embedding") + ".bias";
    model.positions = pattern(object, "positions");
    if (model.positions.empty() || !model.token_types.empty())
      object.refuse("class_token", "no token type, and a tensor of positions beside it");
  }
  model.scaled_embedding = object.flag("scaled_embedding").value_or(false);
  model.norm = object.text("norm_kind").value_or(norm_kind) == "rms" ? NormKind::Rms : NormKind::Layer;
  model.placement = choice<NormPlacement, 4>(object, "placement", NormPlacement::Before,
                                             {{{"before", NormPlacement::Before},
                                               {"after", NormPlacement::After},
                                               {"on_branch", NormPlacement::OnBranch},
                                               {"around", NormPlacement::Around}}});
  if (const auto norms = object.object("norms")) read_norms(model, *norms);
  if (object.has("parallel")) {
    if (object.dump("parallel").front() == '"') {
      model.parallel_key = *object.text("parallel");
    } else {
      model.parallel = *object.flag("parallel");
    }
  }
  model.parallel_norms_key = object.text("parallel_norms").value_or("");
  model.parallel_shares_norm = object.flag("parallel_shares_norm").value_or(false);
  const auto mlp = object.object("mlp");
  if (!mlp) object.refuse("mlp", "an object with the modules of the MLP");
  read_mlp(model, *mlp);
  model.norm_epsilon = config_value(object, "epsilon");
  model.softcap = config_value(object, "softcap");
  model.heads = object.texts("head").value_or(std::vector<std::string>{});
  model.refused_flag = object.text("refuse").value_or("");
  return model;
}

void read_window(Layout& layout, const JsonObject& object) {
  constexpr std::array<string_view, 3> known{"size", "flag", "layers"};
  require_known(object, known, "'window'");
  layout.window = config_value(object, "size");
  layout.window_flag = object.text("flag").value_or("");
  layout.window_layers =
      choice<WindowLayers, 4>(object, "layers", WindowLayers::All,
                              {{{"all", WindowLayers::All},
                                {"even", WindowLayers::Even},
                                {"from_max_window_layers", WindowLayers::FromMaxWindowLayers},
                                {"all_but_every_pattern", WindowLayers::AllButEveryPattern}}});
}

void read_causal(Layout& layout, const JsonObject& object) {
  if (!object.has("causal")) return;
  if (object.dump("causal").front() == '"') {
    layout.causal_key = *object.text("causal");
  } else {
    layout.causal = *object.flag("causal");
  }
}

Layout layout_of(const JsonObject& object) {
  constexpr std::array<string_view, 33> known{"model_type",   "neutral",
                                              "agree",        "read_as",
                                              "biases",       "stated",
                                              "when",         "defaults",
                                              "refuse",       "prefixes",
                                              "nested",       "sizes",
                                              "query",        "key",
                                              "value",        "output",
                                              "packing",      "query_key_value",
                                              "transposed",   "query_norm",
                                              "key_norm",     "norm",
                                              "positions",    "causal",
                                              "query_scalar", "softcap",
                                              "window",       "comment",
                                              "scaled_flag",  "inverse_layer_flag",
                                              "norm_epsilon", "norm_over_all_heads",
                                              "model"};
  require_known(object, known, "a layout");
  Layout layout;
  layout.model_type = object.text("model_type").value_or("");
  if (layout.model_type.empty()) object.refuse("model_type", "a string");
  layout.prefixes = object.texts("prefixes").value_or(std::vector<std::string>{""});
  if (layout.prefixes.empty()) object.refuse("prefixes", "at least one, which may be empty");
  layout.nested = object.text("nested").value_or("");
  if (!object.has("sizes"))
    object.fail("'sizes' is missing: the configuration's keys of layers, hidden_size and heads");
  layout.sizes = sizes(*object.object("sizes"));
  read_linears(layout, object);
  read_keys(layout, object);
  if (const auto keys = object.object("biases")) layout.biases = biases(*keys);
  if (const auto keys = object.object("stated")) layout.stated = stated_sizes(*keys);
  if (const auto norm = object.object("norm")) read_norm(layout, *norm);
  if (const auto keys = object.object("positions")) layout.positions = positions(*keys);
  read_causal(layout, object);
  layout.query_scalar = config_value(object, "query_scalar");
  layout.scaled_flag = object.text("scaled_flag").value_or("");
  layout.inverse_layer_flag = object.text("inverse_layer_flag").value_or("");
  layout.softcap = config_value(object, "softcap");
  if (const auto window = object.object("window")) read_window(layout, *window);
  if (const auto model = object.object("model")) {
    const auto norm = object.object("norm");
    layout.model = model_layout(*model, norm ? norm->text("kind").value_or("layer") : "layer");
  }
  return layout;
}

// The configuration with values that the family's class takes for others replaced by those.
JsonObject read_as(const JsonObject& table, JsonObject config) {
  const std::optional<JsonObject> keys = table.object("read_as");
  if (!keys) return config;
  for (const std::string& key : keys->keys()) {
    const std::optional<JsonObject> words = keys->object(key);
    if (!words) keys->refuse(key, "an object of words and what they mean");
    for (const std::string& word : words->keys()) {
      if (config.dump(key) == '"' + word + '"')
        config = config.with_text(key, words->text(word).value_or(""));
    }
  }
  return config;
}

// The configuration that a table speaks of, with the defaults of the family's class for what is absent.
JsonObject completed(const JsonObject& table, const JsonObject& config) {
  const std::optional<std::string> nested = table.text("nested");
  const JsonObject inner = nested && config.is_object(*nested) ? *config.object(*nested) : config;
  const std::optional<JsonObject> defaults = table.object("defaults");
  return read_as(table, defaults ? inner.with_defaults(*defaults) : inner);
}

// Flags of the configuration that a table is for.
bool applies(const JsonObject& table, const JsonObject& config) {
  const std::optional<JsonObject> when = table.object("when");
  if (!when) return true;
  const std::vector<std::string> keys = when->keys();
  return std::ranges::all_of(keys, [&](const std::string& key) {
    return config.flag(key).value_or(false) == when->flag(key).value_or(false);
  });
}

// What the table says is not supported; the text beside it says why.
void refuse_features(const JsonObject& table, const JsonObject& config) {
  const std::optional<JsonObject> refuse = table.object("refuse");
  if (!refuse) return;
  for (const std::string& key : refuse->keys()) {
    const std::string value = config.dump(key);
    if (value == "null") continue;
    const auto wanted = refuse->object(key);
    if (!wanted) refuse->refuse(key, "an object with 'only' and 'because'");
    if (config.is_one_of(key, *wanted, "only")) continue;
    config.fail(in_quotes(key) + " is " + in_quotes(value.front() == '"' ? *config.text(key) : value) + ": " +
                wanted->text("because").value_or("not supported"));
  }
}

std::optional<FamilyConfig> match(const JsonObject& table, const JsonObject& config) {
  const JsonObject complete = completed(table, config);
  if (!applies(table, complete)) return std::nullopt;
  refuse_features(table, complete);
  Layout layout = layout_of(table);
  return FamilyConfig{std::move(layout), complete};
}

}  // namespace

FamilyConfig parse_layout(string_view json, string_view name, const JsonObject& config) {
  const JsonObject table = JsonObject::parse(json, name);
  if (auto family = match(table, config)) return std::move(*family);
  table.fail("'when' does not hold for this config.json");
}

FamilyConfig find_family(const JsonObject& config) {
  const std::string known = joined(family_names(), ", ");
  const std::optional<std::string> model_type = config.text("model_type");
  if (!model_type) config.fail("'model_type' is missing, expected one of: " + known);
  for (const std::string& text : family_tables(*model_type)) {
    if (auto family = match(JsonObject::parse(text, "the layout of " + *model_type), config))
      return std::move(*family);
  }
  config.fail(
      "'model_type' is " + in_quotes(*model_type) + ", expected one of: " + known +
      "; for another family describe where its tensors are in a file for --layout (`attnsym layout llama` "
      "prints one to start from)");
}

}  // namespace attnsym
