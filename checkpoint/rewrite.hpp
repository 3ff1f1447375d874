#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/atomic_output.hpp"
#include "checkpoint/checkpoint.hpp"
#include "symmetry/transformer_weights.hpp"

namespace attnsym {

/// What of a model a rewrite replaces.
enum class RewriteScope { Attention, Model };

/// A copy of a checkpoint with other attention weights, or all other weights: a directory if the source is
/// one, a file otherwise. A GGUF or llama2.c file becomes a directory with config.json and model.safetensors,
/// see ConvertedFile; its tokenizer stays behind. Of all others: Everything else is kept bit for bit: other
/// tensors, tensor order, sharding, metadata, configuration, tokenizer and all other files. One layer at a
/// time is in memory, and the copy has its name only once it is complete.
class CheckpointRewrite {
 public:
  /// Copies all files but the weights.
  /// @param source outlives this object. @param overwrite replaces an output of this class, see
  /// require_own_output, or a regular file. @param store_as the dtype of the attention tensors; their own if
  /// absent.
  /// @throws FormatError as ConvertedFile, IoError if out exists and overwrite is No, if out and source
  /// contain each other, or if writing fails.
  CheckpointRewrite(const Checkpoint& source, const std::filesystem::path& out, Overwrite overwrite,
                    std::optional<Dtype> store_as = {}, RewriteScope scope = RewriteScope::Attention,
                    Sync sync = Sync::Yes);
  CheckpointRewrite(CheckpointRewrite&&) noexcept;
  ~CheckpointRewrite();

  /// Writes one layer's attention. Different layers may be written from different threads.
  /// @throws as attention_tensors, and IoError if writing fails.
  void write_attention(Index layer, const AttentionWeights<double>& weights);

  /// Writes all of one block, or what is outside of blocks; in a rewrite of the model only, and there all of
  /// it has to be written.
  /// @throws as block_tensors and outside_tensors, and IoError if writing fails.
  void write_block(Index layer, const Block<double>& block);
  void write_outside(const TransformerWeights<double>& outside);

  /// Copies all tensors that will not change; once, and beside write_attention if need be. @throws IoError.
  void copy_rest();

  /// Completes the copy: the rest if it was not copied yet, and layers not written keep the source's weights.
  /// @returns where it lies, which is not under its name yet @throws IoError, also if somebody has written to
  /// the source meanwhile.
  const std::filesystem::path& complete();

  /// Completes the copy if need be, and gives it its name. @throws IoError.
  void commit();

  /// What of the source's directory is not in the copy, see copy_tree.
  const std::vector<std::string>& left_out() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace attnsym
