#include "checkpoint/gguf_model.hpp"

#include <set>
#include <utility>

#include "checkpoint/gguf_architecture.hpp"
#include "checkpoint/gguf_config.hpp"
#include "checkpoint/gguf_metadata.hpp"
#include "checkpoint/layout.hpp"
#include "checkpoint/printable.hpp"

namespace attnsym {
namespace {

using std::string_view;

GgufArchitecture require_architecture(GgufMetadata& metadata) {
  const std::optional<std::string> name = metadata.text("general.architecture");
  if (!name) metadata.fail("the key 'general.architecture' is missing");
  if (auto found = find_gguf_architecture(*name)) return *std::move(found);
  metadata.fail("the architecture " + in_quotes(*name) +
                " is not supported; there are: " + joined(gguf_architecture_names(), ", "));
}

void refuse_splits(GgufMetadata& metadata) {
  const std::optional<Index> parts = metadata.count("split.count");
  if (parts && *parts > 1)
    metadata.fail("is one of " + std::to_string(*parts) +
                  " parts of a model; join them (gguf-split --merge)");
}

// A name without .weight or .bias, and that.
std::pair<string_view, string_view> module_and_part(string_view name) {
  for (const string_view part : {".weight", ".bias"}) {
    if (name.ends_with(part)) return {name.substr(0, name.size() - part.size()), part};
  }
  return {name, ""};
}

// Gives the tensors of one file their names among those of Hugging Face.
class Renamer {
 public:
  Renamer(const GgufArchitecture& architecture, const GgufMetadata& metadata, ForeignModel& model)
      : architecture_(architecture), metadata_(metadata), model_(model) {}

  void rename_all() {
    std::set<std::string_view> taken;
    for (TensorInfo& tensor : model_.table.tensors) {
      rename(tensor);
      if (!taken.insert(tensor.name).second)
        metadata_.fail("two tensors stand for " + in_quotes(tensor.name));
    }
  }

 private:
  void rename(TensorInfo& tensor) {
    const auto [module, part] = module_and_part(tensor.name);
    for (const GgufModule& known : architecture_.modules) {
      const std::optional<std::string> name = translated(module, known);
      if (!name || part.empty()) continue;
      const auto change = part == ".weight" ? known.change : GgufModule::Change::None;
      tensor.name_in_file = std::exchange(tensor.name, *name + std::string(part));
      if (change == GgufModule::Change::Transposed) model_.transposed.insert(tensor.name);
      if (change == GgufModule::Change::OneAdded) model_.one_added.insert(tensor.name);
      return;
    }
    refuse_attention(tensor.name);
    model_.unnamed.insert(tensor.name);
  }

  static std::optional<std::string> translated(string_view module, const GgufModule& known) {
    if (known.gguf.find("{layer}") == string_view::npos)
      return module == known.gguf ? std::optional<std::string>(known.hugging_face) : std::nullopt;
    const std::optional<Index> layer = layer_of(module, "", known.gguf);
    return layer ? std::optional(tensor_name("", known.hugging_face, *layer)) : std::nullopt;
  }

  // Whatever else a layer calls attention would be ignored.
  void refuse_attention(const std::string& name) const {
    if (!name.starts_with("blk.") || name.find(".attn_") == std::string::npos) return;
    metadata_.fail("tensor " + in_quotes(name) + ": attention of the architecture " +
                   std::string(architecture_.name) + " has no such tensor here");
  }

  const GgufArchitecture& architecture_;
  const GgufMetadata& metadata_;
  ForeignModel& model_;
};

}  // namespace

ForeignModel read_gguf_model(std::span<const std::byte> file, string_view name) {
  GgufHeader header = parse_gguf_header(file, name);
  GgufMetadata metadata(header, name);
  const GgufArchitecture architecture = require_architecture(metadata);
  refuse_splits(metadata);
  ForeignModel model;
  model.format = "GGUF";
  model.pairs = architecture.pairs;
  model.config = gguf_config(header, metadata, architecture, file);
  model.table = header.table;
  Renamer(architecture, metadata, model).rename_all();
  if (model.unnamed.contains("rope_freqs.weight")) model.in_config.insert("rope_freqs.weight");
  return model;
}

}  // namespace attnsym
