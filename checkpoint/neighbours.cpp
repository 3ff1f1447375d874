#include "checkpoint/neighbours.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "checkpoint/mapped_file.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/strict_json.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& file) {
  std::error_code ignored;
  return fs::exists(file, ignored);
}

nlohmann::json read_list(const fs::path& path) {
  const MappedFile file = MappedFile::open(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  require_strict_json(text, path.string());
  nlohmann::json list = nlohmann::json::parse(text);
  if (!list.is_array()) throw FormatError(path.string() + ": expected a list of modules");
  return list;
}

// By the last part of its class's name: pooling picks or averages tokens, and a vector is brought to
// length 1.
bool has_no_weights(std::string_view type) {
  constexpr std::array<std::string_view, 3> names{"Transformer", "Pooling", "Normalize"};
  const std::string_view name = type.substr(type.rfind('.') + 1);
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

void refuse_adapters(const fs::path& folder) {
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"}) {
    if (is_there(folder / name))
      throw FormatError((folder / name).string() +
                        ": an adapter lies beside the weights, which libraries add to them: merge it into "
                        "them, or take it away");
  }
}

bool has_modules(const fs::path& folder) { return is_there(folder / "modules.json"); }

void require_modules_without_weights(const fs::path& folder) {
  if (!has_modules(folder)) return;
  const fs::path path = folder / "modules.json";
  for (const nlohmann::json& module : read_list(path)) {
    const std::string type = module.is_object() && module.contains("type") && module["type"].is_string()
                                 ? module["type"].get<std::string>()
                                 : "";
    if (has_no_weights(type)) continue;
    throw FormatError(path.string() + ": lists a module of type " + in_quotes(type) +
                      ", whose weights are not understood: they read what the transformer puts out; --scope "
                      "attention does without them");
  }
}

}  // namespace attnsym
