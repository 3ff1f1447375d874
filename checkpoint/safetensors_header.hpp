#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/dtype.hpp"

namespace attnsym {

/// One tensor of a safetensors file, row-major.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::F32;
  std::vector<std::int64_t> shape;
  std::size_t begin = 0;  ///< first byte, counted from the start of the file's data
  std::size_t end = 0;    ///< one past the last byte, likewise

  std::size_t size() const { return end - begin; }  ///< bytes
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;              ///< in the order of their data
  std::map<std::string, std::string> metadata;  ///< __metadata__, empty if absent
  std::size_t data_offset = 0;                  ///< where the data starts: 8 + length of the JSON text
};

/// The largest header that readers of the format accept, bytes.
inline constexpr std::size_t largest_safetensors_header = 100'000'000;

/// Reads and checks the header of a whole file: afterwards the tensors fill the data without overlap or hole,
/// and every size agrees with dtype and shape.
/// @param name goes into messages: the file's name.
/// @throws FormatError with name, tensor and reason for everything else.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view name);

}  // namespace attnsym
