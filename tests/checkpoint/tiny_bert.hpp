#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.hpp"

namespace attnsym::testing {

/// A BERT of 2 layers, width 6 and 3 heads of 2, whose numbers are all different and exact in every float
/// dtype.
struct TinyBert {
  static constexpr std::int64_t layers = 2, width = 6, heads = 3, head_dim = 2;

  std::string prefix = "";
  Dtype dtype = Dtype::F32;
  bool biases = true;

  std::string config() const;

  /// Attention, norms in front of it, a feed-forward weight, and an I64 buffer as old files have.
  std::vector<NamedTensor> tensors() const;

  /// config.json, model.safetensors, tokenizer.json and a subdirectory.
  void write(const std::filesystem::path& directory) const;

  /// The same as two shards with an index.
  void write_sharded(const std::filesystem::path& directory) const;
};

}  // namespace attnsym::testing
