#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "checkpoint/tensor_table.hpp"

namespace attnsym {

/// The largest header that readers of the format accept, bytes.
inline constexpr std::size_t largest_safetensors_header = 100'000'000;

/// Reads and checks the header of a whole file: afterwards the tensors fill the data without overlap or hole,
/// and every size agrees with dtype and shape.
/// @param name goes into messages: the file's name.
/// @throws FormatError with name, tensor and reason for everything else.
TensorTable parse_safetensors_header(std::span<const std::byte> file, std::string_view name);

}  // namespace attnsym
