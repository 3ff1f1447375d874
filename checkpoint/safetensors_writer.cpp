#include "checkpoint/safetensors_writer.hpp"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <tuple>

#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// Texts may hold file names, which need not be UTF-8: what is not becomes U+FFFD.
std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string json_entry(const TensorInfo& tensor) {
  return json_string(tensor.name) + ":{\"dtype\":\"" + std::string(name_of(tensor.dtype)) +
         "\",\"shape\":" + shape_text(tensor.shape) + ",\"data_offsets\":[" + std::to_string(tensor.begin) +
         "," + std::to_string(tensor.end) + "]}";
}

std::string json_metadata(const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> entries;
  for (const auto& [key, value] : metadata) entries.push_back(json_string(key) + ":" + json_string(value));
  return std::string("\"__metadata__\":{").append(joined(entries, ",")).append("}");
}

void require_sound(const std::vector<NamedTensor>& tensors) {
  std::set<std::string_view> names{"__metadata__"};
  for (const NamedTensor& tensor : tensors) {
    std::size_t expected = size_of(tensor.dtype);
    for (const std::int64_t extent : tensor.shape) expected *= static_cast<std::size_t>(extent);
    if (tensor.bytes.size() != expected) {
      throw ShapeError("tensor " + in_quotes(tensor.name) + ": " + std::to_string(tensor.bytes.size()) +
                       " bytes for shape " + shape_text(tensor.shape) + " of " +
                       std::string(name_of(tensor.dtype)) + ", expected " + std::to_string(expected));
    }
    if (!names.insert(tensor.name).second)
      throw FormatError("the tensor name " + in_quotes(tensor.name) + " is taken");
  }
}

}  // namespace

std::vector<std::byte> serialize_header(const std::vector<TensorInfo>& tensors,
                                        const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> entries;
  if (!metadata.empty()) entries.push_back(json_metadata(metadata));
  for (const TensorInfo& tensor : tensors) entries.push_back(json_entry(tensor));
  std::string json = std::string("{").append(joined(entries, ",")).append("}");
  json.resize((json.size() + 7) / 8 * 8, ' ');

  const std::uint64_t length = json.size();
  std::vector<std::byte> head(sizeof length + json.size());
  std::memcpy(head.data(), &length, sizeof length);
  std::memcpy(head.data() + sizeof length, json.data(), json.size());
  return head;
}

std::vector<std::byte> serialize_safetensors(std::vector<NamedTensor> tensors,
                                             const std::map<std::string, std::string>& metadata) {
  require_sound(tensors);
  std::ranges::sort(tensors, [](const NamedTensor& a, const NamedTensor& b) {
    return std::make_tuple(size_of(b.dtype), std::cref(a.name)) <
           std::make_tuple(size_of(a.dtype), std::cref(b.name));
  });

  std::vector<TensorInfo> infos;
  std::size_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    infos.push_back({tensor.name, tensor.dtype, tensor.shape, offset, offset + tensor.bytes.size()});
    offset += tensor.bytes.size();
  }
  std::vector<std::byte> file = serialize_header(infos, metadata);
  for (const NamedTensor& tensor : tensors) file.insert(file.end(), tensor.bytes.begin(), tensor.bytes.end());
  return file;
}

}  // namespace attnsym
