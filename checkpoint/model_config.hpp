#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/layout.hpp"
#include "symmetry/attention_config.hpp"

namespace attnsym {

/// What config.json says about the scores of one layer.
struct ScoreRule {
  bool causal = false;
  Index window = 0;
  Rotary rotary;
  std::vector<double> slopes;
  double softcap = 0;
  double scale = 1;
};

/// A size of tensors outside of attention as config.json states it: one number, or height and width.
struct StatedSize {
  enum class What { Vocabulary, Mlp, Positions, TokenTypes, Channels, Patch, Image } what;
  std::string key;
  std::vector<Index> sizes;
};

/// Whether a linear map has a bias, by what config.json says.
enum class BiasRule {
  AsStored,  ///< it has the one that is stored, or none
  Never,
  Always
};

/// What config.json says about the attention of a model, by the table of its family. All sizes are at most
/// 2^31, so products of two are safe.
struct ModelConfig {
  std::string model_type;
  Index layers = 0;
  Index hidden_size = 0;    ///< D
  Index heads = 0;          ///< query heads
  Index kv_heads = 0;       ///< key/value groups; divides heads
  Index head_dim = 0;       ///< width of a head, for queries, keys and values alike
  double norm_epsilon = 0;  ///< of norms over queries and keys
  ScoreRule full;           ///< of layers without a sliding window
  ScoreRule sliding;        ///< of layers with one

  struct Biases {
    BiasRule inputs = BiasRule::AsStored;  ///< of queries, keys and values
    BiasRule output = BiasRule::AsStored;
    BiasRule mlp = BiasRule::AsStored;
    BiasRule head = BiasRule::AsStored;
  } biases;

  /// What is not attention; of families whose whole models are understood.
  struct Outside {
    std::string activation;  ///< as the configuration spells it
    double norm_epsilon = 0;
    double softcap = 0;  ///< of logits; 0 for none
    bool parallel = false;
    std::optional<Index> parallel_norms;  ///< 1 or 2, of families that tell
    bool tied = false;
    bool tied_predictions = true;      ///< the same of heads behind a transform
    std::string images;                ///< what else it says of images, as JSON
    std::string architecture;          ///< the class of the model, or empty
    std::string pooler_activation;     ///< as the configuration spells it
    std::optional<Index> pad_token{};  ///< what classes that read the last token leave out
    std::optional<Index> padding;  ///< a token that stands for none, and has the position before the first
    std::vector<StatedSize> stated;
    std::string refused;  ///< a flag that is set and makes it another architecture, or empty
  };
  std::optional<Outside> outside;

  std::optional<Index> max_positions{};  ///< tokens of the longest input that the configuration speaks of

  /// A limit that whoever compares models may set: windows of this size and more are left out, because no
  /// input of as many tokens reaches them.
  std::optional<Index> longest_input{};

  /// @param layer  0 <= layer < layers
  ScoreRule scores(Index layer) const;

  bool is_sliding(Index layer) const;

  bool scale_by_inverse_layer = false;  ///< the scale of layer l is divided by l + 1
  WindowLayers window_layers = WindowLayers::All;
  Index window_parameter = 0;            ///< of FromMaxWindowLayers and AllButEveryPattern
  std::vector<std::string> layer_types;  ///< of every layer, where the configuration says so
};

/// A configuration and the table that explains it.
struct ParsedConfig {
  ModelConfig config;
  Layout layout;
  bool is_built_in = true;  ///< the layout
  std::string texts{};      ///< what both come from, one behind the other
};

/// @param name goes into messages: the file the text comes from.
/// @param layout_json  a table that takes the place of the built-in ones for its own model_type; empty for
/// none
/// @throws FormatError naming the key, what it is and what was expected; also for a model_type without a
/// layout and for what is not supported.
ParsedConfig parse_model_config(std::string_view json, std::string_view name,
                                std::string_view layout_json = {}, std::string_view layout_name = {});

}  // namespace attnsym
