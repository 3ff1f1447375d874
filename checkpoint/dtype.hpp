#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "symmetry/exponent_range.hpp"
#include "symmetry/format_rounding.hpp"

namespace attnsym {

/// The element types of safetensors files.
enum class Dtype { Bool, U8, I8, F8E5M2, F8E4M3, I16, U16, F16, BF16, I32, U32, F32, F64, I64, U64 };

/// Bytes per element.
std::size_t size_of(Dtype dtype);

/// As safetensors headers spell it, such as "F32".
std::string_view name_of(Dtype dtype);

std::optional<Dtype> parse_dtype(std::string_view name);

/// F64, F32, F16 and BF16: what decode and encode understand.
bool is_readable_float(Dtype dtype);

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

/// The powers of two that a dtype reaches. @throws FormatError unless is_readable_float(dtype).
ExponentRange exponents_of(Dtype dtype);

/// [N7] The largest error that storing w in this dtype has left. @throws as rounding_of.
inline double rounding_radius(Dtype dtype, double w) { return rounding_of(dtype).radius(w); }

}  // namespace attnsym
