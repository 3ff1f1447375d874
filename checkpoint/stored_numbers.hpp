#pragma once

#include <cstddef>
#include <span>

#include "checkpoint/checkpoint.hpp"

namespace attnsym {

/// What the radii of quantised numbers cover [N7]. Others have one kind only, the rounding of their dtype.
enum class Radii {
  Quantized,  ///< the distance to the numbers that were quantised, see decode_blocks: for a comparison with
              ///< these
  Decoded     ///< the decoded numbers are the model, as it runs; they were rounded to float32 and no more
};

/// Numbers of a stored tensor from entry `offset` on, row-major, as doubles.
/// @param radius  as many, or empty where nobody asks: the largest error that each may have
/// @throws FormatError unless the dtype is readable. Numbers need not be finite.
void read_numbers(const StoredTensor& tensor, std::size_t offset, std::span<double> numbers,
                  std::span<double> radius, Radii radii);

/// The same of bytes that hold numbers of a dtype that has no blocks.
void read_numbers(Dtype dtype, std::span<const std::byte> bytes, std::size_t offset,
                  std::span<double> numbers, std::span<double> radius);

}  // namespace attnsym
