#include "checkpoint/stored_numbers.hpp"

#include <algorithm>
#include <vector>

#include "checkpoint/block_quantization.hpp"

namespace attnsym {
namespace {

void round_as(Dtype dtype, std::span<const double> numbers, std::span<double> radius) {
  if (radius.empty()) return;
  const Rounding rounding = rounding_of(dtype);
  std::ranges::transform(numbers, radius.begin(), [&](double number) { return rounding.radius(number); });
}

// The blocks that hold these entries, decoded whole.
void read_from_blocks(const StoredTensor& tensor, std::size_t offset, std::span<double> numbers,
                      std::span<double> radius) {
  const Dtype dtype = tensor.info->dtype;
  const std::size_t length = block_length(dtype);
  const std::size_t first = offset / length;
  const std::size_t blocks = (offset + numbers.size() + length - 1) / length - first;
  const auto bytes = tensor.bytes().subspan(first * size_of(dtype), blocks * size_of(dtype));
  if (blocks * length == numbers.size()) return decode_blocks(dtype, bytes, numbers, radius);
  std::vector<double> values(blocks * length);
  std::vector<double> radii(radius.empty() ? 0 : values.size());
  decode_blocks(dtype, bytes, values, radii);
  const std::size_t skipped = offset - first * length;
  std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(skipped), numbers.size(), numbers.begin());
  if (!radius.empty())
    std::copy_n(radii.begin() + static_cast<std::ptrdiff_t>(skipped), radius.size(), radius.begin());
}

}  // namespace

void read_numbers(const StoredTensor& tensor, std::size_t offset, std::span<double> numbers,
                  std::span<double> radius, Radii radii) {
  const Dtype dtype = tensor.info->dtype;
  if (numbers.empty()) return;
  if (is_readable_block(dtype)) {
    const bool decoded = radii == Radii::Decoded;
    read_from_blocks(tensor, offset, numbers, decoded ? std::span<double>() : radius);
    if (decoded) round_as(Dtype::F32, numbers, radius);
    return;
  }
  read_numbers(dtype, tensor.bytes(), offset, numbers, radius);
}

void read_numbers(Dtype dtype, std::span<const std::byte> bytes, std::size_t offset,
                  std::span<double> numbers, std::span<double> radius) {
  const std::size_t size = size_of(dtype);
  decode(dtype, bytes.subspan(offset * size, numbers.size() * size), numbers);
  round_as(dtype, numbers, radius);
}

}  // namespace attnsym
