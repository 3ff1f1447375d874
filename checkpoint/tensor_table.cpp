#include "checkpoint/tensor_table.hpp"

namespace attnsym {

std::optional<std::size_t> element_count(const std::vector<std::int64_t>& shape) {
  std::size_t count = 1;
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(count, static_cast<std::size_t>(extent), &count)) return std::nullopt;
  }
  return count;
}

std::optional<std::size_t> byte_count(Dtype dtype, const std::vector<std::int64_t>& shape) {
  const std::size_t row = shape.empty() ? 1 : static_cast<std::size_t>(shape.back());
  if (row % block_length(dtype) != 0) return std::nullopt;
  const std::optional<std::size_t> count = element_count(shape);
  std::size_t bytes = 0;
  if (!count || __builtin_mul_overflow(*count / block_length(dtype), size_of(dtype), &bytes))
    return std::nullopt;
  return bytes;
}

}  // namespace attnsym
