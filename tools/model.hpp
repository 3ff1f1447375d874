#pragma once

#include <CLI/App.hpp>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/read_attention.hpp"
#include "tools/executor.hpp"

namespace attnsym {

/// Files that say how models are to be read.
struct ModelFiles {
  std::optional<std::filesystem::path> config;  ///< in place of a directory's config.json
  std::optional<std::filesystem::path> layout;  ///< the table of a family that is not built in

  std::vector<std::filesystem::path> paths() const;
};

/// A checkpoint as named on the command line.
struct Model {
  Checkpoint checkpoint;
  std::optional<std::filesystem::path>
      config_file;  ///< absent where the weight file is its own configuration
  std::optional<std::filesystem::path> layout_file;

  /// SHA-256 of every file that decides the answer - configuration, layout, index, weights - by file name.
  std::map<std::string, std::string> digests() const;

  /// Bytes of all attention tensors: what one pass over the layers reads.
  std::size_t attention_bytes() const;

  std::size_t layers() const { return static_cast<std::size_t>(layer_count(checkpoint)); }
};

/// @param files.config is needed by a single safetensors file; GGUF and llama2.c files do without.
Model open_model(const std::filesystem::path& where, const ModelFiles& files);

/// @throws IoError if somebody has written to the weights of one since it was opened: then an answer about
/// them would be about neither state.
void require_unchanged(const Model& a, const Model& b);

/// Whether attention of one of them is quantised.
bool is_quantized(const Model& a, const Model& b);

/// Sliding windows that differ make no difference where no input that the configurations speak of is long
/// enough to reach them: then both are read without, and what was left out is said in words.
std::optional<std::string> leave_out_unreached_windows(Model& a, Model& b);

/// Both are read with all their windows again.
void take_all_windows(Model& a, Model& b);

/// For work on one module of both at a time.
ThreadPlan plan_attention(std::size_t threads, const Model& a, const Model& b);

/// Adds --config and --layout to a subcommand.
void add_file_options(CLI::App& app, ModelFiles& files);

/// Adds --threads to a subcommand.
void add_threads_option(CLI::App& app, std::size_t& threads);

/// Writes a file of evidence. @throws IoError if it exists and may not be replaced.
void write_evidence(const std::filesystem::path& path, const std::vector<std::byte>& bytes, bool force);

/// Refuses a place for a file of evidence before hours of work, not after: one that exists and may not be
/// replaced, or where nothing can be written, and whatever `force` says a directory, a device, or a place
/// inside a model or of a file that is only read.
/// @throws IoError
void require_evidence_place(const std::optional<std::filesystem::path>& path, bool force,
                            const std::vector<std::filesystem::path>& models);

}  // namespace attnsym
