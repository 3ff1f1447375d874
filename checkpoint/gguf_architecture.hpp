#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "symmetry/rotary.hpp"

namespace attnsym {

/// A module of a GGUF file and what Hugging Face calls it; {layer} stands for the layer's number.
struct GgufModule {
  enum class Change {
    None,
    Transposed,  ///< the weight is [out, in] where Hugging Face has [in, out]
    OneAdded     ///< the gain is g where Hugging Face has g - 1
  };

  std::string_view gguf, hugging_face;
  Change change = Change::None;
};

/// What llama.cpp's converter does to the models of one architecture.
struct GgufArchitecture {
  std::string_view name;        ///< general.architecture
  std::string_view model_type;  ///< of config.json
  std::string_view class_name;  ///< likewise, "architectures"
  PairLayout pairs;             ///< of rows of queries and keys: the converter interleaves those of llama
  std::vector<GgufModule> modules;
};

/// Absent for an architecture that is not supported.
std::optional<GgufArchitecture> find_gguf_architecture(std::string_view name);

/// The names of all that are, in alphabetical order.
std::vector<std::string> gguf_architecture_names();

}  // namespace attnsym
