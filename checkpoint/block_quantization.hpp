#pragma once

#include <cstddef>
#include <span>

#include "checkpoint/dtype.hpp"

namespace attnsym {

/// Numbers quantised block by block, as llama.cpp's GGUF files hold them. A block is 32 consecutive numbers
/// of a row: Q8_0 a float16 scale d and 32 signed bytes q, the numbers being q d; Q4_0 a float16 scale d and
/// 16 bytes of two codes c, (c - 8) d; Q4_1 float16 d and m and 16 bytes, c d + m. The low half of byte i is
/// number i, its high half number i + 16. Numbers are rounded to float32, as llama.cpp computes them; of the
/// three only Q4_1 can need it.
/// @param bytes  whole blocks, of any alignment
/// @param values  as many numbers as the blocks hold
/// @param radius [N7]  of the same size, or empty where nobody asks: the largest distance to the number that
/// was quantised. Half a step of its block, plus what rounding scale and offset to float16 moves; a whole
/// step where Q4_0 clips, at code 15. True of quantisers that scale a block by its largest numbers, as
/// llama.cpp's do without an importance matrix.
/// @throws FormatError unless is_readable_block(dtype), ShapeError if the sizes disagree.
void decode_blocks(Dtype dtype, std::span<const std::byte> bytes, std::span<double> values,
                   std::span<double> radius);

}  // namespace attnsym
