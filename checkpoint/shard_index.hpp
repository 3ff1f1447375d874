#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace attnsym {

/// model.safetensors.index.json: tensor name to the file that holds it, relative to the index and inside its
/// directory.
using ShardIndex = std::map<std::string, std::string, std::less<>>;

/// @param name goes into messages: the index file's name.
/// @throws FormatError also for files that are absolute or climb out of the directory.
ShardIndex parse_shard_index(std::string_view json, std::string_view name);

/// The same index with another metadata.total_size (bytes of all tensors); unchanged where it has none.
std::string with_total_size(std::string_view json, std::uint64_t total_size);

}  // namespace attnsym
