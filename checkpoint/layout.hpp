#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/json_object.hpp"
#include "symmetry/rotary.hpp"
#include "symmetry/scalar.hpp"
#include "symmetry/stored_model.hpp"

namespace attnsym {

/// A number that the configuration has under one of several keys, or that is fixed. null and nothing mean
/// that it has no value.
struct ConfigValue {
  std::vector<std::string> keys;  ///< the first that is there counts
  std::optional<double> fixed;
};

/// Keys of config.json under which a family keeps its sizes.
struct SizeKeys {
  ConfigValue layers, hidden_size, heads, kv_heads, head_dim;
};

/// The stored tensors of one linear map, as name patterns.
struct LinearNames {
  std::string weight, bias;
};

/// How rows of queries, keys and values share tensors.
enum class Packing {
  Separate,      ///< a tensor each, heads in order
  Concatenated,  ///< one tensor: all queries, all keys, all values
  PerGroup,      ///< one tensor: of every group its queries, its key and its value
};

/// A norm's gain and bias under all the names that libraries have used, as name patterns. RMS norms have no
/// biases.
struct NormNames {
  std::vector<std::string> gains, biases;
};

/// What scores depend on besides queries and keys, and where the configuration says so.
struct PositionKeys {
  enum class Kind { None, Rotary, Alibi } kind = Kind::None;
  ConfigValue base{{}, 10000};  ///< rotary: of the frequencies base^(-2p / width)
  ConfigValue local_base{};     ///< rotary: the base of layers with a sliding window, where that is another
  ConfigValue fraction{};       ///< rotary: the share of a head's coordinates that is turned; all without one
  /// rotary: types of scaling that the family knows, each with the type that it means; all without any
  std::map<std::string, std::string> types;
  PairLayout pairs = PairLayout::HalfSplit;  ///< of the rows of stored tensors; read as half-split
  bool scaled_slopes = false;  ///< ALiBi: slopes are rounded to bfloat16 and multiplied by the scale (falcon)
};

/// A flag of the configuration, or a fixed answer where there is no key.
struct Switch {
  std::string key;
  bool fixed = false;
};

/// Which linear maps have biases; where the table does not say, those that are stored.
struct BiasSwitches {
  std::optional<Switch> inputs;  ///< of queries, keys and values
  std::optional<Switch> output, mlp, head;
};

/// Keys of config.json that state sizes of tensors outside of attention.
struct StatedSizes {
  ConfigValue vocabulary, mlp, positions, token_types;
  ConfigValue channels, patch, image;  ///< of images: their channels, and height and width in pixels
};

/// Which layers have the window of the configuration where its layer_types do not say.
enum class WindowLayers { All, Even, FromMaxWindowLayers, AllButEveryPattern };

/// Where a family keeps what is not attention, and what its configuration says about it: the object "model"
/// of its table. Sizes are those of the tensors.
struct ModelLayout {
  std::string embedding, positions, token_types;  ///< tensors, or empty
  /// The tensor of a class token (TransformerConfig), or empty. Then the embedding is a convolution that
  /// projects patches, D x channels x height x width, with a bias, and positions are 1 x positions x D.
  std::string class_token, patch_bias;
  Index position_offset = 0;      ///< rows of the table of positions before the first token's
  std::string padding_key;        ///< names the token that stands for none; the first token's row is the next
  bool scaled_embedding = false;  ///< embeddings are multiplied by the root of D
  NormKind norm = NormKind::Layer;
  NormPlacement placement = NormPlacement::Before;
  std::array<NormNames, norm_places> norms;  ///< by NormPlace
  std::string parallel_key;                  ///< a flag of the configuration; without one `parallel` says
  bool parallel = false;
  /// How many norms a parallel block has, 1 or 2, where a key says so: 2 if it is absent. With 1 the MLP
  /// reads behind attention's, which is then the last of its names; the first is that of blocks with 2.
  std::string parallel_norms_key;
  /// Attention and MLP side by side read behind one norm; another one, if it is stored, is not read.
  bool parallel_shares_norm = false;
  LinearNames up, gate, down;
  bool packed = false;  ///< gate and up share a tensor, gate first
  std::string activation_key;
  ConfigValue norm_epsilon{};
  ConfigValue softcap{};
  std::vector<std::string> heads;  ///< names of the head's module, whatever precedes other names
  std::string refused_flag;        ///< a flag of models that are another architecture
};

/// Where one model family keeps its attention, and what its configuration means. A family is a table, and a
/// new family is a new table and a test, no new code path: see families.cpp, and parse_layout for tables from
/// files. In a pattern {layer} stands for the layer's number and {previous} for the number before. Weights
/// are stored [out, in] as torch.nn.Linear does, y = W x + b, or [in, out] if `transposed`; columns of the
/// output map belong to the heads in order.
struct Layout {
  std::string model_type;
  std::vector<std::string> prefixes{""};  ///< what may precede every name
  std::string nested;                     ///< the key of the configuration that holds everything, if one does
  /// Keys of the configuration that change nothing; without this list, all keys that the table does not name.
  std::optional<std::vector<std::string>> neutral;
  std::vector<std::vector<std::string>> agree;  ///< keys that say the same, if several of them are there
  std::vector<std::string> named;               ///< keys that the table names besides
  BiasSwitches biases;
  StatedSizes stated;
  SizeKeys sizes;
  LinearNames query, key, value, output;
  Packing packing = Packing::Separate;
  bool transposed = false;
  std::string query_norm, key_norm;  ///< gains of norms over queries and keys, offset as those of `norm`
  ConfigValue norm_epsilon{{"rms_norm_eps"}, 1e-6};
  bool norm_over_all_heads =
      false;               ///< the queries of all heads are normalised together, and so are all keys
  NormNames first_norm;    ///< produces the input of layer 0's attention
  NormNames norm;          ///< produces the input of every other layer's attention
  double norm_offset = 0;  ///< 1 where a gain g is stored as g - 1
  PositionKeys positions;
  std::string causal_key;  ///< a flag of the configuration; without one `causal` says
  bool causal = true;
  ConfigValue query_scalar{};      ///< scores are divided by its root; head_dim without one
  std::string scaled_flag;         ///< a flag without which scores are not scaled, if there is one
  std::string inverse_layer_flag;  ///< a flag by which the scale of layer l is divided by l + 1
  ConfigValue softcap{};
  ConfigValue window{};
  std::string window_flag;  ///< a flag without which there is no window
  WindowLayers window_layers = WindowLayers::All;
  std::optional<ModelLayout> model;  ///< absent where only attention is understood
};

/// The table of a family, and a configuration with its defaults for keys that are absent.
struct FamilyConfig {
  Layout layout;
  JsonObject config;
};

/// The table for this configuration among all families.
/// @throws FormatError for a model_type that none of them is, naming those there are.
FamilyConfig find_family(const JsonObject& config);

/// All model types, in alphabetical order.
std::vector<std::string> family_names();

/// The tables of one family as text: JSON, one after the other; empty for an unknown one.
std::vector<std::string> family_tables(std::string_view model_type);

/// A table from a file, in the form of those in families.cpp. Keys of config.json that it does not name are
/// let pass unless it has a list "neutral" of those that may.
/// @throws FormatError naming file, key and what is expected; also for a key that means nothing.
FamilyConfig parse_layout(std::string_view json, std::string_view name, const JsonObject& config);

/// The tensor name a pattern stands for.
std::string tensor_name(std::string_view prefix, std::string_view pattern, Index layer);

/// The layer for which the pattern stands for this name; nothing if there is none.
std::optional<Index> layer_of(std::string_view name, std::string_view prefix, std::string_view pattern);

}  // namespace attnsym
