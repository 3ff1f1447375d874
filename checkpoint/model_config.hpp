#pragma once

#include <string>
#include <string_view>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// What config.json says about the attention of a model. All sizes are at most 2^31, so products of two are
/// safe.
struct ModelConfig {
  std::string model_type;
  Index layers = 0;
  Index hidden_size = 0;  ///< D
  Index heads = 0;        ///< query heads
  Index kv_heads = 0;     ///< key/value groups; divides heads
  Index head_dim = 0;     ///< width of a head, for queries, keys and values alike
  std::string position_embedding_type;
  bool causal = false;  ///< token n sees tokens 0..n only (is_decoder)
};

/// @param name goes into messages: the file the text comes from.
/// @throws FormatError naming the key, what it is and what was expected; also for a model_type without a
/// layout and for relative positions.
ModelConfig parse_model_config(std::string_view json, std::string_view name);

}  // namespace attnsym
