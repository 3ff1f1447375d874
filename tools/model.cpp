#include "tools/model.hpp"

#include <algorithm>

#include "checkpoint/atomic_output.hpp"
#include "checkpoint/sha256.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {

namespace {

// What a single weight file is called, whatever its name.
std::string weight_file_name(const Checkpoint& checkpoint) {
  if (!checkpoint.foreign()) return "model.safetensors";
  return checkpoint.foreign()->format == "GGUF" ? "model.gguf" : "model.bin";
}

}  // namespace

std::map<std::string, std::string> Model::digests() const {
  std::map<std::string, std::string> result;
  if (config_file) result["config.json"] = sha256_file(*config_file);
  if (layout_file) result["layout.json"] = sha256_file(*layout_file);
  if (checkpoint.index_path())
    result[checkpoint.index_path()->filename()] = sha256_file(*checkpoint.index_path());
  for (const TensorFile& file : checkpoint.files()) {
    // A single file may have any name; the digest is of what it holds.
    const std::string name = checkpoint.index_path()
                                 ? file.path().lexically_relative(checkpoint.path()).string()
                                 : weight_file_name(checkpoint);
    result[name] = sha256_file(file.path());
  }
  return result;
}

std::size_t Model::attention_bytes() const {
  std::size_t bytes = 0;
  for (Index layer = 0; layer < layer_count(checkpoint); ++layer) {
    for (const StoredTensor& tensor : stored_attention_tensors(checkpoint, layer))
      bytes += tensor.bytes().size();
  }
  return bytes;
}

std::vector<std::filesystem::path> ModelFiles::paths() const {
  std::vector<std::filesystem::path> result;
  for (const auto& path : {config, layout}) {
    if (path) result.push_back(*path);
  }
  return result;
}

Model open_model(const std::filesystem::path& where, const ModelFiles& files) {
  Model model{Checkpoint::open(where, files.config, files.layout), {}, files.layout};
  if (!model.checkpoint.foreign()) model.config_file = files.config.value_or(where / "config.json");
  return model;
}

void require_unchanged(const Model& a, const Model& b) {
  a.checkpoint.require_unchanged();
  b.checkpoint.require_unchanged();
}

bool is_quantized(const Model& a, const Model& b) {
  return has_quantized_attention(a.checkpoint) || has_quantized_attention(b.checkpoint);
}

std::optional<std::string> leave_out_unreached_windows(Model& a, Model& b) {
  const ModelConfig& from = a.checkpoint.config();
  const ModelConfig& to = b.checkpoint.config();
  if (from.layers != to.layers || !from.max_positions || !to.max_positions) return std::nullopt;
  const Index longest = std::max(*from.max_positions, *to.max_positions);
  Index smallest = 0;  // of the windows that differ
  for (Index layer = 0; layer < from.layers; ++layer) {
    const Index window_a = from.scores(layer).window;
    const Index window_b = to.scores(layer).window;
    if (window_a == window_b) continue;
    for (const Index window : {window_a, window_b}) {
      if (window == 0) continue;
      if (window < longest) return std::nullopt;
      smallest = smallest == 0 ? window : std::min(smallest, window);
    }
  }
  if (smallest == 0) return std::nullopt;
  a.checkpoint.set_longest_input(longest);
  b.checkpoint.set_longest_input(longest);
  return "for inputs of at most " + std::to_string(longest) +
         " tokens (max_position_embeddings): longer ones reach a sliding window of " +
         std::to_string(smallest) + " tokens that only one of the models has";
}

void take_all_windows(Model& a, Model& b) {
  a.checkpoint.set_longest_input(std::nullopt);
  b.checkpoint.set_longest_input(std::nullopt);
}

// Weights and radii of both modules are held as doubles.
ThreadPlan plan_attention(std::size_t threads, const Model& a, const Model& b) {
  const auto numbers = [](const Model& model) {
    return static_cast<std::size_t>(attention_config(model.checkpoint, 0).parameter_count());
  };
  return plan_threads(threads, a.layers(), 2 * sizeof(double) * (numbers(a) + numbers(b)));
}

void add_file_options(CLI::App& app, ModelFiles& files) {
  app.add_option("--config", files.config,
                 "config.json to use; needed when a model is a single .safetensors file (GGUF and llama2.c "
                 "files have their own)")
      ->type_name("FILE");
  app.add_option("--layout", files.layout,
                 "Where a family that is not built in keeps its tensors; see `attnsym layout`")
      ->type_name("FILE");
}

void add_threads_option(CLI::App& app, std::size_t& threads) {
  app.add_option("--threads", threads, "Worker threads (default: one per processor)")
      ->type_name("N")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1024}));
}

void write_evidence(const std::filesystem::path& path, const std::vector<std::byte>& bytes, bool force) {
  write_file_atomically(path, bytes, force ? Overwrite::Yes : Overwrite::No);
}

void require_evidence_place(const std::optional<std::filesystem::path>& path, bool force,
                            const std::vector<std::filesystem::path>& models) {
  namespace fs = std::filesystem;
  if (!path) return;
  if (fs::is_directory(*path)) throw IoError(path->string() + ": is a directory, not a file to write");
  const fs::path place = fs::weakly_canonical(fs::absolute(*path));
  for (const fs::path& model : models) {
    const fs::path inside = fs::weakly_canonical(fs::absolute(model)) / "";
    const fs::path root = inside.parent_path();
    if (std::mismatch(root.begin(), root.end(), place.begin(), place.end()).first == root.end()) {
      throw IoError(path->string() + ": lies in " + model.string() + ", which is never written to");
    }
  }
  require_writable(*path, force ? Overwrite::Yes : Overwrite::No);
}

}  // namespace attnsym
