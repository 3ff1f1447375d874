#include "checkpoint/shard_index.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/printable.hpp"
#include "checkpoint/strict_json.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

bool stays_inside(const std::filesystem::path& file) {
  if (file.empty() || file.is_absolute() || !file.has_filename()) return false;
  return std::none_of(file.begin(), file.end(),
                      [](const std::filesystem::path& part) { return part == ".."; });
}

}  // namespace

ShardIndex parse_shard_index(std::string_view json, std::string_view name) {
  require_strict_json(json, name);
  const std::string file_name(name);
  const nlohmann::json document = nlohmann::json::parse(json);
  if (!document.is_object() || !document.contains("weight_map") || !document["weight_map"].is_object()) {
    throw FormatError(file_name + ": 'weight_map' is missing or not an object");
  }

  ShardIndex index;
  for (const auto& [tensor, file] : document["weight_map"].items()) {
    if (!file.is_string())
      throw FormatError(file_name + ": the file of tensor " + in_quotes(tensor) + " is not a string");
    const std::string shard = file.get<std::string>();
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; };
    if (std::ranges::any_of(shard, is_control) || !stays_inside(shard)) {
      throw FormatError(file_name + ": tensor " + in_quotes(tensor) + " is said to be in " +
                        in_quotes(shard) + ", which is not a file inside the checkpoint's directory");
    }
    index[tensor] = std::filesystem::path(shard).lexically_normal().string();
  }
  if (index.empty()) throw FormatError(file_name + ": 'weight_map' is empty");
  return index;
}

std::string with_total_size(std::string_view json, std::uint64_t total_size) {
  auto document = nlohmann::ordered_json::parse(json);
  if (!document.contains("metadata") || !document["metadata"].is_object()) return std::string(json);
  if (!document["metadata"].contains("total_size")) return std::string(json);
  document["metadata"]["total_size"] = total_size;
  return document.dump(2) + "\n";
}

}  // namespace attnsym
