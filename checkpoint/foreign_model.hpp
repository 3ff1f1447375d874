#pragma once

#include <set>
#include <string>

#include "checkpoint/tensor_table.hpp"
#include "symmetry/rotary.hpp"

namespace attnsym {

/// What a reader makes of one file that is no Hugging Face checkpoint: the table of its tensors under the
/// names that Hugging Face has for them, a configuration that says the same model, and in what the numbers
/// are stored otherwise.
struct ForeignModel {
  std::string format;  ///< "GGUF" or "llama2.c"
  TensorTable table;   ///< tensors without a name there keep their own
  std::string config;  ///< JSON, as config.json

  PairLayout pairs = PairLayout::HalfSplit;  ///< of the rows of queries and keys; Hugging Face has half-split
  std::set<std::string> unnamed;             ///< tensors that Hugging Face has no name for
  std::set<std::string> in_config;           ///< of these, what the configuration says already
  std::set<std::string> transposed;          ///< stored [out, in] where Hugging Face has [in, out]
  std::set<std::string> one_added;           ///< gains stored as g where Hugging Face has g - 1
};

}  // namespace attnsym
