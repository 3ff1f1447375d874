#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "symmetry/exponent_range.hpp"
#include "symmetry/format_rounding.hpp"

namespace attnsym {

/// The element types of safetensors files, and the blocks of GGUF files: numbers of a row that share a scale.
enum class Dtype {
  Bool,
  U8,
  I8,
  F8E5M2,
  F8E4M3,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  F64,
  I64,
  U64,
  C64,
  F8E8M0,
  F4,
  F6E2M3,
  F6E3M2,
  Q4_0,
  Q4_1,
  Q5_0,
  Q5_1,
  Q8_0,
  Q8_1,
  Q2_K,
  Q3_K,
  Q4_K,
  Q5_K,
  Q6_K,
  Q8_K,
  IQ2_XXS,
  IQ2_XS,
  IQ3_XXS,
  IQ1_S,
  IQ4_NL,
  IQ3_S,
  IQ2_S,
  IQ4_XS,
  IQ1_M,
  TQ1_0,
  TQ2_0,
  MXFP4
};

/// Bytes per element, or per block.
std::size_t size_of(Dtype dtype);

/// Elements per block; 1 for what has no blocks.
std::size_t block_length(Dtype dtype);

/// As safetensors headers spell it, such as "F32", or llama.cpp.
std::string_view name_of(Dtype dtype);

/// Of what safetensors files can hold.
std::optional<Dtype> parse_dtype(std::string_view name);

/// F64, F32, F16 and BF16: what decode and encode understand.
bool is_readable_float(Dtype dtype);

/// Q8_0, Q4_0 and Q4_1: what decode_blocks understands.
bool is_readable_block(Dtype dtype);

/// The dtype in which numbers of this one are written to safetensors files: F32 for blocks, else its own.
Dtype written_dtype(Dtype dtype);

/// Little-endian elements to doubles, exactly. The bytes need no alignment.
/// @throws FormatError unless is_readable_float(dtype), ShapeError unless bytes.size() == out.size() *
/// size_of(dtype).
void decode(Dtype dtype, std::span<const std::byte> bytes, std::span<double> out);

/// The inverse: rounds once, to nearest even, straight from double; through float, F16 and BF16 would round
/// twice. Infinities and NaN stay what they are. @throws as decode, and FormatError if a finite value
/// overflows the dtype.
void encode(Dtype dtype, std::span<const double> values, std::span<std::byte> out);

/// @throws FormatError unless is_readable_float(dtype).
Rounding rounding_of(Dtype dtype);

/// The powers of two that a dtype reaches; for readable blocks those of the dtype they are written in.
/// @throws FormatError for other dtypes.
ExponentRange exponents_of(Dtype dtype);

/// [N7] The largest error that storing w in this dtype has left. @throws as rounding_of.
inline double rounding_radius(Dtype dtype, double w) { return rounding_of(dtype).radius(w); }

}  // namespace attnsym
