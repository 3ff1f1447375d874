#include "checkpoint/checkpoint.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <set>
#include <utility>

#include "checkpoint/gguf.hpp"
#include "checkpoint/gguf_model.hpp"
#include "checkpoint/json_object.hpp"
#include "checkpoint/llama2c.hpp"
#include "checkpoint/model_classes.hpp"
#include "checkpoint/neighbours.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/safetensors.hpp"
#include "checkpoint/shard_index.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

ParsedConfig parse_config(std::string_view text, const std::string& name,
                          const std::optional<fs::path>& layout) {
  if (!layout) return parse_model_config(text, name);
  const MappedFile table = MappedFile::open(*layout);
  if (table.bytes().empty()) throw FormatError(layout->string() + ": is empty, expected a layout in JSON");
  return parse_model_config(text, name, text_of(table), layout->string());
}

ParsedConfig read_config(const fs::path& path, const std::optional<fs::path>& layout) {
  const MappedFile config = MappedFile::open(path);
  return parse_config(text_of(config), path.string(), layout);
}

// The layers of the part that makes tokens of images, by the names of its tensors; a number that is none
// counts as beyond all others.
std::set<Index> image_layers(const std::vector<TensorFile>& files, const std::string& model_type) {
  constexpr std::string_view layers = ".encoder.layers.";
  std::set<Index> result;
  for (const TensorFile& file : files) {
    for (const TensorInfo& tensor : file.tensors()) {
      const std::size_t place = tensor.name.find(layers);
      if (place == std::string::npos || !is_beside_text(model_type, tensor.name)) continue;
      const char* const end = tensor.name.data() + tensor.name.size();
      Index layer = 0;
      const auto digits = std::from_chars(tensor.name.data() + place + layers.size(), end, layer);
      result.insert(digits.ec == std::errc() ? layer : std::numeric_limits<Index>::max());
    }
  }
  return result;
}

// What makes tokens of images is compared as it is; so it has to be all there.
void require_image_layers(const std::vector<TensorFile>& files, const ModelConfig& config,
                          const std::string& name) {
  const std::set<Index> layers = image_layers(files, config.model_type);
  if (layers.empty() || !config.outside) return;
  constexpr Index by_default = 12;                     // of the library's SiglipVisionConfig
  const std::string& images = config.outside->images;  // a line for each key, the first for vision_config
  const std::string text = images.substr(0, images.find('\n'));
  const JsonObject vision = JsonObject::parse(text == "null" ? "{}" : text, name);
  const Index stated = vision.size("num_hidden_layers").value_or(by_default);
  const auto count = static_cast<Index>(layers.size());
  if (stated != count || *layers.rbegin() != count - 1)
    throw FormatError(name + ": 'num_hidden_layers' of 'vision_config' is " + std::to_string(stated) +
                      ", and there are tensors of " + std::to_string(count));
}

// Absent for a file that is neither GGUF nor llama2.c.
std::optional<ForeignModel> read_foreign(const MappedFile& file) {
  const std::string name = file.path().string();
  if (is_gguf(file.bytes())) return read_gguf_model(file.bytes(), name);
  if (is_llama2c(file.bytes(), name)) return read_llama2c(file.bytes(), name);
  return std::nullopt;
}

void require_listed_tensors(const ShardIndex& index, const std::vector<TensorFile>& files,
                            const fs::path& directory, const fs::path& index_path) {
  std::map<fs::path, const TensorFile*> file_at;
  for (const TensorFile& file : files) file_at[file.path()] = &file;
  for (const auto& [tensor, shard] : index) {
    if (file_at.at(directory / shard)->find(tensor)) continue;
    throw FormatError(index_path.string() + ": tensor " + in_quotes(tensor) + " is not in " +
                      in_quotes(shard));
  }
}

void require_unique_tensors(const std::vector<TensorFile>& files) {
  std::map<std::string_view, const TensorFile*> owner;
  for (const TensorFile& file : files) {
    for (const TensorInfo& tensor : file.tensors()) {
      const auto [entry, is_new] = owner.emplace(tensor.name, &file);
      if (is_new) continue;
      throw FormatError(file.path().string() + ": tensor " + in_quotes(tensor.name) + " is also in " +
                        entry->second->path().string());
    }
  }
}

// As the model types that have such norms spell them.
bool is_query_or_key_norm(std::string_view name) {
  constexpr std::array<std::string_view, 6> spellings{
      ".q_norm.", ".k_norm.", ".q_layernorm.", ".k_layernorm.", ".query_layernorm.", ".key_layernorm."};
  return std::any_of(spellings.begin(), spellings.end(), [&](std::string_view spelling) {
    return name.find(spelling) != std::string_view::npos;
  });
}

}  // namespace

std::string StoredTensor::describe() const {
  return file->path().string() + ": tensor " +
         in_quotes(info->name_in_file.empty() ? info->name : info->name_in_file);
}

Checkpoint Checkpoint::open(const fs::path& where, const std::optional<fs::path>& config,
                            const std::optional<fs::path>& layout) {
  std::error_code error;
  const fs::file_status status = fs::status(where, error);
  if (!fs::exists(status)) throw IoError(where.string() + ": cannot open: " + error.message());
  const bool is_directory = fs::is_directory(status);
  if (!is_directory) {
    if (auto foreign = open_foreign(where, layout)) return *std::move(foreign);
  }
  if (!is_directory && !config) {
    throw FormatError(where.string() +
                      ": a single weight file does not say what model it is; name its config.json with "
                      "--config");
  }

  if (is_directory) refuse_adapters(where);
  Checkpoint checkpoint(where, read_config(config.value_or(where / "config.json"), layout));
  checkpoint.is_directory_ = is_directory;
  checkpoint.open_weights();
  checkpoint.check();
  return checkpoint;
}

std::optional<Checkpoint> Checkpoint::open_foreign(const fs::path& where,
                                                   const std::optional<fs::path>& layout) {
  MappedFile file = MappedFile::open(where);
  std::optional<ForeignModel> model = read_foreign(file);
  if (!model) return std::nullopt;
  ParsedConfig parsed = parse_config(model->config, where.string(), layout);
  // A table that the user brings says itself how rows are paired.
  if (parsed.is_built_in) parsed.layout.positions.pairs = model->pairs;
  if (!model->one_added.empty()) parsed.layout.norm_offset = 0;
  Checkpoint checkpoint(where, std::move(parsed));
  checkpoint.files_.emplace_back(std::move(file), std::exchange(model->table, {}));
  checkpoint.foreign_ = std::move(model);
  checkpoint.check();
  return checkpoint;
}

void Checkpoint::check() {
  choose_prefix();
  for (Index layer = 0; layer < config_.layers; ++layer) require(layout_.query.weight, layer);
  refuse_other_attention();
  refuse_other_norms();
  require_image_layers(files_, config_, (path_ / config_name()).string());
}

// The number of norms that config.json gives to a parallel block, and those that are stored.
void Checkpoint::refuse_other_norms() const {
  if (!config_.outside || !config_.outside->parallel_norms) return;
  const auto& norms = layout_.model->norms;
  const bool are_two = *config_.outside->parallel_norms == 2;
  for (const NormPlace place : {NormPlace::AttentionInput, NormPlace::MlpInput}) {
    const std::string& name = norms[static_cast<std::size_t>(place)].gains.front();
    if (find(name, 0).has_value() == are_two) continue;
    throw FormatError(path_.string() + ": " + in_quotes(layout_.model->parallel_norms_key) + " is " +
                      std::to_string(*config_.outside->parallel_norms) + " in " + config_name() +
                      ", but tensor " + in_quotes(tensor_name(prefix_, name, 0)) +
                      (are_two ? " is missing" : " is stored"));
  }
}

void Checkpoint::open_weights() {
  const fs::path single = is_directory_ ? path_ / "model.safetensors" : path_;
  const fs::path index = path_ / "model.safetensors.index.json";
  std::error_code ignored;
  if (!is_directory_ || fs::exists(single, ignored)) {
    files_.push_back(SafetensorsFile::open(single));
  } else if (fs::exists(index, ignored)) {
    open_shards(index);
  } else {
    throw IoError(path_.string() + ": holds neither model.safetensors nor model.safetensors.index.json");
  }
}

void Checkpoint::open_shards(const fs::path& index_path) {
  const MappedFile text = MappedFile::open(index_path);
  const ShardIndex index = parse_shard_index(text_of(text), index_path.string());
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : index) shards.insert(shard);
  for (const std::string& shard : shards) files_.push_back(SafetensorsFile::open(path_ / shard));
  require_listed_tensors(index, files_, path_, index_path);
  require_unique_tensors(files_);
  index_path_ = index_path;
}

void Checkpoint::choose_prefix() {
  std::vector<std::string_view> present;
  for (const std::string& prefix : layout_.prefixes) {
    if (find(tensor_name(prefix, layout_.query.weight, 0))) present.push_back(prefix);
  }
  if (present.empty()) {
    throw FormatError(path_.string() + ": no tensor " + in_quotes(tensor_name("", layout_.query.weight, 0)) +
                      ", with or without " + in_quotes(layout_.prefixes.back()) + " before it: not a " +
                      config_.model_type + " checkpoint");
  }
  if (present.size() > 1) {
    throw FormatError(path_.string() + ": holds two models, under " + in_quotes(present[0]) + " and " +
                      in_quotes(present[1]));
  }
  prefix_ = present[0];
}

// Attention that would be ignored silently: layers beyond those of the config, and cross-attention.
void Checkpoint::refuse_other_attention() const {
  const auto refuse = [](const StoredTensor& tensor, const std::string& reason) {
    throw FormatError(tensor.describe() + " " + reason);
  };
  for (const TensorFile& file : files_) {
    for (const TensorInfo& tensor : file.tensors()) {
      if (tensor.name.find(".crossattention.") != std::string::npos) {
        refuse({&file, &tensor}, "belongs to cross-attention, which is not supported");
      }
      if (tensor.name.ends_with(".sinks"))
        refuse({&file, &tensor}, "holds attention sinks, which are not read from files yet");
      if (!layout_.query_norm.empty() && is_query_or_key_norm(tensor.name) && tensor.name.ends_with(".bias"))
        refuse({&file, &tensor}, "is the bias of a norm of queries or keys, which is not supported");
      if (layout_.query_norm.empty() && is_query_or_key_norm(tensor.name))
        refuse({&file, &tensor},
               "normalises queries or keys, which " + config_.model_type + " models do not");
      for (const LinearNames* names : {&layout_.query, &layout_.key, &layout_.value, &layout_.output}) {
        if (layer_of(tensor.name, prefix_, names->weight).value_or(0) < config_.layers) continue;
        refuse({&file, &tensor}, "belongs to a layer that " + std::string(config_name()) +
                                     " does not have: it names " + std::to_string(config_.layers));
      }
    }
  }
}

bool Checkpoint::reads_like(const Checkpoint& other) const {
  if (texts_ != other.texts_ || foreign_.has_value() != other.foreign_.has_value()) return false;
  return !foreign_ ||
         (foreign_->format == other.foreign_->format && foreign_->pairs == other.foreign_->pairs &&
          foreign_->transposed == other.foreign_->transposed &&
          foreign_->one_added == other.foreign_->one_added);
}

void Checkpoint::require_unchanged() const {
  for (const TensorFile& file : files_) file.require_unchanged();
}

std::size_t Checkpoint::weight_bytes() const {
  std::size_t total = 0;
  for (const TensorFile& file : files_) total += file.size();
  return total;
}

std::optional<StoredTensor> Checkpoint::find(std::string_view name) const {
  for (const TensorFile& file : files_) {
    if (const TensorInfo* info = file.find(name)) return StoredTensor{&file, info};
  }
  return std::nullopt;
}

std::optional<StoredTensor> Checkpoint::find(std::string_view pattern, Index layer) const {
  return find(tensor_name(prefix_, pattern, layer));
}

StoredTensor Checkpoint::require(std::string_view pattern, Index layer) const {
  if (const std::optional<StoredTensor> found = find(pattern, layer)) return *found;
  throw FormatError(path_.string() + ": tensor " + in_quotes(tensor_name(prefix_, pattern, layer)) +
                    " is missing");
}

}  // namespace attnsym
