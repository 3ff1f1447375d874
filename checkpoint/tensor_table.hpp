#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/dtype.hpp"

namespace attnsym {

/// One tensor of a file, row-major.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::F32;
  std::vector<std::int64_t> shape;
  std::size_t begin = 0;       ///< first byte, counted from the start of the file's data
  std::size_t end = 0;         ///< one past the last byte, likewise
  std::string name_in_file{};  ///< where the file calls it otherwise; for messages

  std::size_t size() const { return end - begin; }  ///< bytes
};

/// What a file of tensors says before its data.
struct TensorTable {
  std::vector<TensorInfo> tensors;              ///< in the order of their data
  std::map<std::string, std::string> metadata;  ///< __metadata__ of safetensors, empty if absent
  std::size_t data_offset = 0;                  ///< where the data starts in the file
};

/// Numbers in a tensor of this shape. Absent if that overflows. @param shape no extent is negative
std::optional<std::size_t> element_count(const std::vector<std::int64_t>& shape);

/// Bytes of such a tensor, row-major. Absent if that overflows, or if rows are not whole blocks of the dtype.
std::optional<std::size_t> byte_count(Dtype dtype, const std::vector<std::int64_t>& shape);

}  // namespace attnsym
