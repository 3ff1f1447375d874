#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// Keys of config.json under which a family keeps its sizes.
struct ConfigKeys {
  std::string_view layers, hidden_size, heads, kv_heads, head_dim;
};

/// The stored tensors of one linear map, as name patterns.
struct LinearNames {
  std::string_view weight, bias;
};

/// A norm's gain and bias under all the names that libraries have used, as name patterns.
struct NormNames {
  std::vector<std::string_view> gains, biases;
};

/// Where one model family keeps its attention. A family is a table, and a new family is a new table and a
/// test, no new code path. In a pattern {layer} stands for the layer's number and {previous} for the number
/// before. Weights are stored [out, in] as torch.nn.Linear does, y = W x + b; head i owns rows [i hd, (i+1)
/// hd) of query, key and value and the same columns of output.
struct Layout {
  std::string_view model_type;
  std::vector<std::string_view> prefixes;  ///< what may precede every name; "" where nothing may
  ConfigKeys keys;
  LinearNames query, key, value, output;
  NormNames first_norm;  ///< produces the input of layer 0's attention
  NormNames norm;        ///< produces the input of every other layer's attention
};

/// All families, in alphabetical order.
const std::vector<Layout>& layouts();

/// nullptr for an unknown model_type.
const Layout* find_layout(std::string_view model_type);

/// The tensor name a pattern stands for.
std::string tensor_name(std::string_view prefix, std::string_view pattern, Index layer);

/// The layer for which the pattern stands for this name; nothing if there is none.
std::optional<Index> layer_of(std::string_view name, std::string_view prefix, std::string_view pattern);

}  // namespace attnsym
