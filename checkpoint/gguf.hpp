#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "checkpoint/tensor_table.hpp"

namespace attnsym {

/// A list in the metadata; its items are checked and passed over.
struct GgufArray {
  std::uint64_t count = 0;
};

/// A value of the metadata. Integers of all widths are one kind each; a float32 is taken for the shortest
/// decimal number that rounds to it, because that is what somebody wrote down before a converter rounded it.
using GgufValue = std::variant<std::uint64_t, std::int64_t, double, bool, std::string, GgufArray>;

/// What a GGUF file says before its data.
struct GgufHeader {
  std::map<std::string, GgufValue, std::less<>> metadata;
  TensorTable
      table;  ///< names as in the file, shapes with the contiguous extent last (the file has it first)
};

/// Whether these are the first bytes of a GGUF file.
bool is_gguf(std::span<const std::byte> file);

/// Reads and checks the header of a whole file of version 2 or 3: afterwards every tensor lies in the file,
/// on the file's alignment, with the size that its type and shape take, and tensors follow each other without
/// overlap and without holes but for padding.
/// @param name goes into messages: the file's name.
/// @throws FormatError with name, key or tensor, and reason for everything else.
GgufHeader parse_gguf_header(std::span<const std::byte> file, std::string_view name);

}  // namespace attnsym
