#include "checkpoint/block_quantization.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

constexpr std::size_t length = 32;  // of all three

// A float16 in front of a block, and how far rounding may have moved it.
struct Half {
  double value = 0;
  double radius = 0;

  static Half at(const std::byte* bytes) {
    Half half;
    decode(Dtype::F16, {bytes, 2}, {&half.value, 1});
    half.radius = rounding_radius(Dtype::F16, half.value);
    return half;
  }
};

// One block: its scale, its offset, and a code for every number, which is code * scale + offset.
struct Block {
  Half scale, offset;
  std::array<int, length> codes;
  std::optional<int> clipped;  // the code that also stands for numbers half a step further out
};

void read_nibbles(const std::byte* bytes, int zero, std::array<int, length>& codes) {
  for (std::size_t i = 0; i < length / 2; ++i) {
    const int byte = std::to_integer<int>(bytes[i]);
    codes[i] = (byte & 15) - zero;
    codes[i + length / 2] = (byte >> 4) - zero;
  }
}

Block read_block(Dtype dtype, const std::byte* bytes) {
  Block block;
  block.scale = Half::at(bytes);
  if (dtype == Dtype::Q8_0) {
    for (std::size_t i = 0; i < length; ++i)
      block.codes[i] = static_cast<std::int8_t>(std::to_integer<std::uint8_t>(bytes[2 + i]));
  } else if (dtype == Dtype::Q4_0) {
    read_nibbles(bytes + 2, 8, block.codes);
    block.clipped = 7;
  } else {
    block.offset = Half::at(bytes + 2);
    read_nibbles(bytes + 4, 0, block.codes);
  }
  return block;
}

double value_of(const Block& block, int code) {
  const double exact = code * block.scale.value + block.offset.value;  // in double: at most 45 bits
  return static_cast<double>(static_cast<float>(exact));
}

// The quantiser rounded (w - offset) / scale, with scale and offset as they were before they became float16.
double radius_of(const Block& block, int code) {
  const double step = std::abs(block.scale.value) + block.scale.radius;
  return (block.clipped == code ? 1.0 : 0.5) * step + std::abs(code) * block.scale.radius +
         block.offset.radius;
}

}  // namespace

void decode_blocks(Dtype dtype, std::span<const std::byte> bytes, std::span<double> values,
                   std::span<double> radius) {
  if (!is_readable_block(dtype))
    throw FormatError("dtype " + std::string(name_of(dtype)) +
                      " cannot be read as numbers; of quantised ones Q8_0, Q4_0 and Q4_1 can");
  const std::size_t size = size_of(dtype);
  if (bytes.size() % size != 0 || bytes.size() / size * length != values.size() ||
      (!radius.empty() && radius.size() != values.size()))
    throw ShapeError(std::to_string(bytes.size()) + " bytes do not hold " + std::to_string(values.size()) +
                     " numbers in blocks of " + std::string(name_of(dtype)));
  for (std::size_t first = 0; first < values.size(); first += length) {
    const Block block = read_block(dtype, bytes.data() + first / length * size);
    for (std::size_t i = 0; i < length; ++i) values[first + i] = value_of(block, block.codes[i]);
    if (radius.empty()) continue;
    for (std::size_t i = 0; i < length; ++i) radius[first + i] = radius_of(block, block.codes[i]);
  }
}

}  // namespace attnsym
