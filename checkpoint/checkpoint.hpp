#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/foreign_model.hpp"
#include "checkpoint/layout.hpp"
#include "checkpoint/model_config.hpp"
#include "checkpoint/tensor_file.hpp"

namespace attnsym {

/// A tensor together with the file that holds it. Valid as long as the checkpoint is.
struct StoredTensor {
  const TensorFile* file = nullptr;
  const TensorInfo* info = nullptr;

  std::span<const std::byte> bytes() const { return file->bytes(*info); }

  /// FILE: tensor 'NAME', for messages.
  std::string describe() const;
};

/// A model as libraries store it: config.json and one or more safetensors files; or one GGUF or llama2.c
/// file, which looks the same from outside, under the names of Hugging Face. Opening reads headers, not
/// weights.
class Checkpoint {
 public:
  /// @param where a directory with config.json and model.safetensors or model.safetensors.index.json, a
  /// single safetensors file, a GGUF file, or a file of llama2.c; @param config replaces the directory's
  /// config.json, and a single safetensors file needs it; GGUF and llama2.c files have their own and ignore
  /// it;
  /// @param layout a file with the table of a family that is not built in, see parse_layout.
  /// @throws IoError, FormatError with file, key or tensor, and reason.
  static Checkpoint open(const std::filesystem::path& where,
                         const std::optional<std::filesystem::path>& config = {},
                         const std::optional<std::filesystem::path>& layout = {});

  const std::filesystem::path& path() const { return path_; }
  bool is_directory() const { return is_directory_; }

  /// What a GGUF or llama2.c file was made into (its table apart, which files() has); nullptr for others.
  const ForeignModel* foreign() const { return foreign_ ? &*foreign_ : nullptr; }

  /// Where the configuration is written, for messages.
  const char* config_name() const { return foreign_ ? "its header" : "config.json"; }

  const ModelConfig& config() const { return config_; }

  /// See ModelConfig::longest_input.
  void set_longest_input(std::optional<Index> tokens) { config_.longest_input = tokens; }

  const Layout& layout() const { return layout_; }

  /// What precedes every tensor name in this checkpoint: one of layout().prefixes.
  const std::string& prefix() const { return prefix_; }

  /// Whether the other one is read in the same way: by an equal configuration, text by text, and an equal
  /// table.
  bool reads_like(const Checkpoint& other) const;

  /// All weight files: one, or the shards in the order of their names.
  const std::vector<TensorFile>& files() const { return files_; }

  /// The shards' index file; absent unless sharded.
  const std::optional<std::filesystem::path>& index_path() const { return index_path_; }

  /// @throws IoError if somebody has written to a weight file since it was opened.
  void require_unchanged() const;

  /// Bytes of all weight files.
  std::size_t weight_bytes() const;

  /// By full name.
  std::optional<StoredTensor> find(std::string_view name) const;

  /// By a pattern of the layout.
  std::optional<StoredTensor> find(std::string_view pattern, Index layer) const;

  /// By a pattern of the layout. @throws FormatError naming checkpoint and tensor if it is absent.
  StoredTensor require(std::string_view pattern, Index layer) const;

 private:
  Checkpoint(std::filesystem::path path, ParsedConfig parsed)
      : path_(std::move(path)),
        texts_(std::move(parsed.texts)),
        config_(std::move(parsed.config)),
        layout_(std::move(parsed.layout)) {}

  static std::optional<Checkpoint> open_foreign(const std::filesystem::path& where,
                                                const std::optional<std::filesystem::path>& layout);
  void open_weights();
  void check();
  void open_shards(const std::filesystem::path& index);
  void choose_prefix();
  void refuse_other_attention() const;
  void refuse_other_norms() const;

  std::filesystem::path path_;
  bool is_directory_ = false;
  std::string texts_;  // of the configuration and of a table of the user's
  ModelConfig config_;
  Layout layout_;
  std::string prefix_;
  std::optional<ForeignModel> foreign_;
  std::vector<TensorFile> files_;
  std::optional<std::filesystem::path> index_path_;
};

}  // namespace attnsym
