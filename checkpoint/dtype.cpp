#include "checkpoint/dtype.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "symmetry/errors.hpp"

static_assert(std::endian::native == std::endian::little,
              "checkpoints are little-endian and so is this reader");
static_assert(std::numeric_limits<float>::is_iec559 && std::numeric_limits<double>::is_iec559);

namespace attnsym {
namespace {

struct DtypeRow {
  Dtype dtype;
  std::string_view name;
  std::size_t size;
  std::size_t block_length = 1;
};

// In the order of the enum, which is the index.
constexpr std::array<DtypeRow, 44> dtype_rows{{{Dtype::Bool, "BOOL", 1},
                                               {Dtype::U8, "U8", 1},
                                               {Dtype::I8, "I8", 1},
                                               {Dtype::F8E5M2, "F8_E5M2", 1},
                                               {Dtype::F8E4M3, "F8_E4M3", 1},
                                               {Dtype::I16, "I16", 2},
                                               {Dtype::U16, "U16", 2},
                                               {Dtype::F16, "F16", 2},
                                               {Dtype::BF16, "BF16", 2},
                                               {Dtype::I32, "I32", 4},
                                               {Dtype::U32, "U32", 4},
                                               {Dtype::F32, "F32", 4},
                                               {Dtype::F64, "F64", 8},
                                               {Dtype::I64, "I64", 8},
                                               {Dtype::U64, "U64", 8},
                                               {Dtype::C64, "C64", 8},
                                               {Dtype::F8E8M0, "F8_E8M0", 1},
                                               {Dtype::F4, "F4", 1, 2},
                                               {Dtype::F6E2M3, "F6_E2M3", 3, 4},
                                               {Dtype::F6E3M2, "F6_E3M2", 3, 4},
                                               {Dtype::Q4_0, "Q4_0", 18, 32},
                                               {Dtype::Q4_1, "Q4_1", 20, 32},
                                               {Dtype::Q5_0, "Q5_0", 22, 32},
                                               {Dtype::Q5_1, "Q5_1", 24, 32},
                                               {Dtype::Q8_0, "Q8_0", 34, 32},
                                               {Dtype::Q8_1, "Q8_1", 36, 32},
                                               {Dtype::Q2_K, "Q2_K", 84, 256},
                                               {Dtype::Q3_K, "Q3_K", 110, 256},
                                               {Dtype::Q4_K, "Q4_K", 144, 256},
                                               {Dtype::Q5_K, "Q5_K", 176, 256},
                                               {Dtype::Q6_K, "Q6_K", 210, 256},
                                               {Dtype::Q8_K, "Q8_K", 292, 256},
                                               {Dtype::IQ2_XXS, "IQ2_XXS", 66, 256},
                                               {Dtype::IQ2_XS, "IQ2_XS", 74, 256},
                                               {Dtype::IQ3_XXS, "IQ3_XXS", 98, 256},
                                               {Dtype::IQ1_S, "IQ1_S", 50, 256},
                                               {Dtype::IQ4_NL, "IQ4_NL", 18, 32},
                                               {Dtype::IQ3_S, "IQ3_S", 110, 256},
                                               {Dtype::IQ2_S, "IQ2_S", 82, 256},
                                               {Dtype::IQ4_XS, "IQ4_XS", 136, 256},
                                               {Dtype::IQ1_M, "IQ1_M", 56, 256},
                                               {Dtype::TQ1_0, "TQ1_0", 54, 256},
                                               {Dtype::TQ2_0, "TQ2_0", 66, 256},
                                               {Dtype::MXFP4, "MXFP4", 17, 32}}};

constexpr Dtype last_of_safetensors = Dtype::F6E3M2;

constexpr float infinity = std::numeric_limits<float>::infinity();

[[noreturn]] void refuse(Dtype dtype) {
  throw FormatError("dtype " + std::string(name_of(dtype)) +
                    " cannot be read as numbers; F64, F32, F16 and BF16 can");
}

void require_sizes(Dtype dtype, std::size_t bytes, std::size_t values) {
  if (bytes == values * size_of(dtype)) return;
  throw ShapeError(std::to_string(bytes) + " bytes do not hold " + std::to_string(values) +
                   " values of dtype " + std::string(name_of(dtype)));
}

// The loops below are written without branches in the body so that compilers vectorise them.
template <class Stored, class Convert>
void decode_all(std::span<const std::byte> bytes, std::span<double> out, Convert to_double) {
  const std::byte* in = bytes.data();
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, in + i * sizeof stored, sizeof stored);
    out[i] = to_double(stored);
  }
}

double double_from_half(std::uint16_t half) {
  const std::uint32_t magnitude = static_cast<std::uint32_t>(half & 0x7fffU) << 13;
  const std::uint32_t rebias = magnitude >= 0x0f800000U ? (255U - 31U) << 23 : (127U - 15U) << 23;
  // A subnormal has no implicit bit: give it the smallest exponent, then take away the bit that this adds.
  const auto normal = std::bit_cast<float>(magnitude + rebias);
  const float subnormal = std::bit_cast<float>(magnitude + (113U << 23)) - std::bit_cast<float>(113U << 23);
  const auto value = static_cast<double>(magnitude < (1U << 23) ? subnormal : normal);
  return std::copysign(value, half & 0x8000U ? -1.0 : 1.0);
}

double double_from_bfloat(std::uint16_t bfloat) {
  return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bfloat) << 16));
}

constexpr std::uint64_t exponent_mask = 0x7ff0'0000'0000'0000U;

std::uint64_t bits_of(double w) { return std::bit_cast<std::uint64_t>(w); }

// |w| rounded to nearest even at `digits` significant bits, or to a multiple of the subnormal spacing below
// `smallest`, the smallest normal number. Adding and taking away 1.5 * 2^52 units in the last place lets the
// one rounding that the processor does fall at the right bit. Above `top`, the largest power of two of the
// format, the result need not be rounded: it overflows anyway. Magnitudes are compared by their bits, which
// compilers turn into vector code where they do not for numbers that may be NaN.
double round_magnitude(double w, int digits, double smallest, double top) {
  const std::uint64_t power = std::clamp(bits_of(w) & exponent_mask, bits_of(smallest), bits_of(top));
  const double magic =
      std::bit_cast<double>(power) * (1.5 * static_cast<double>(std::uint64_t{1} << (53 - digits)));
  return (std::abs(w) + magic) - magic;
}

std::uint16_t sign_of(double w) { return static_cast<std::uint16_t>((bits_of(w) >> 48) & 0x8000U); }

struct ToHalf {
  static constexpr double limit = 0x1p16;  // magnitudes from here on do not fit once they are rounded

  static double round(double w) { return round_magnitude(w, 11, 0x1p-14, 0x1p15); }

  static std::uint16_t store(double rounded, double w) {
    const auto magnitude = static_cast<float>(rounded);  // exact: 11 bits fit into 24
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(magnitude);
    const std::uint32_t normal = (bits - (112U << 23)) >> 13;
    // In [0.5, 1) the last bit of a float is 2^-24, which is the spacing of the subnormal halves.
    const std::uint32_t subnormal =
        std::bit_cast<std::uint32_t>(magnitude + 0.5F) - std::bit_cast<std::uint32_t>(0.5F);
    const std::uint32_t finite = bits < std::bit_cast<std::uint32_t>(0x1p-14F) ? subnormal : normal;
    const std::uint32_t special = bits <= std::bit_cast<std::uint32_t>(infinity) ? 0x7c00U : 0x7e00U;
    return static_cast<std::uint16_t>((bits < std::bit_cast<std::uint32_t>(0x1p16F) ? finite : special) |
                                      sign_of(w));
  }
};

struct ToBfloat {
  static constexpr double limit = 0x1p128;

  static double round(double w) { return round_magnitude(w, 8, 0x1p-126, 0x1p127); }

  static std::uint16_t store(double rounded, double w) {
    // Exact, or infinite from the limit on.
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(static_cast<float>(rounded));
    const std::uint32_t number = bits <= std::bit_cast<std::uint32_t>(infinity) ? bits >> 16 : 0x7fc0U;
    return static_cast<std::uint16_t>(number | sign_of(w));
  }
};

struct ToFloat {
  static constexpr double limit = 0x1p128;

  // Converting rounds to nearest even by itself; an overflow shows as an infinity.
  static double round(double w) { return static_cast<double>(std::abs(static_cast<float>(w))); }
  static float store(double, double w) { return static_cast<float>(w); }
};

template <class Target>
void encode_all(Dtype dtype, std::span<const double> values, std::byte* out) {
  using Stored = decltype(Target::store(0, 0));
  std::uint64_t overflows = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double w = values[i];
    const double rounded = Target::round(w);
    const std::uint64_t too_large = bits_of(rounded) >= bits_of(Target::limit) ? 1 : 0;
    const std::uint64_t finite = (bits_of(w) & exponent_mask) < exponent_mask ? 1 : 0;
    overflows |= too_large & finite;
    const Stored stored = Target::store(rounded, w);
    std::memcpy(out + i * sizeof stored, &stored, sizeof stored);
  }
  if (overflows != 0) {
    throw FormatError("a finite value is too large for dtype " + std::string(name_of(dtype)));
  }
}

}  // namespace

std::size_t size_of(Dtype dtype) { return dtype_rows[static_cast<std::size_t>(dtype)].size; }

std::size_t block_length(Dtype dtype) { return dtype_rows[static_cast<std::size_t>(dtype)].block_length; }

std::string_view name_of(Dtype dtype) { return dtype_rows[static_cast<std::size_t>(dtype)].name; }

std::optional<Dtype> parse_dtype(std::string_view name) {
  for (const DtypeRow& row : dtype_rows) {
    if (row.name == name && row.dtype <= last_of_safetensors) return row.dtype;
  }
  return std::nullopt;
}

bool is_readable_float(Dtype dtype) {
  return dtype == Dtype::F64 || dtype == Dtype::F32 || dtype == Dtype::F16 || dtype == Dtype::BF16;
}

bool is_readable_block(Dtype dtype) {
  return dtype == Dtype::Q8_0 || dtype == Dtype::Q4_0 || dtype == Dtype::Q4_1;
}

Dtype written_dtype(Dtype dtype) { return block_length(dtype) > 1 ? Dtype::F32 : dtype; }

void decode(Dtype dtype, std::span<const std::byte> bytes, std::span<double> out) {
  require_sizes(dtype, bytes.size(), out.size());
  if (dtype == Dtype::F64) {
    decode_all<double>(bytes, out, [](double stored) { return stored; });
  } else if (dtype == Dtype::F32) {
    decode_all<float>(bytes, out, [](float stored) { return static_cast<double>(stored); });
  } else if (dtype == Dtype::F16) {
    decode_all<std::uint16_t>(bytes, out, double_from_half);
  } else if (dtype == Dtype::BF16) {
    decode_all<std::uint16_t>(bytes, out, double_from_bfloat);
  } else {
    refuse(dtype);
  }
}

void encode(Dtype dtype, std::span<const double> values, std::span<std::byte> out) {
  require_sizes(dtype, out.size(), values.size());
  if (dtype == Dtype::F64) {
    std::memcpy(out.data(), values.data(), out.size());
  } else if (dtype == Dtype::F32) {
    encode_all<ToFloat>(dtype, values, out.data());
  } else if (dtype == Dtype::F16) {
    encode_all<ToHalf>(dtype, values, out.data());
  } else if (dtype == Dtype::BF16) {
    encode_all<ToBfloat>(dtype, values, out.data());
  } else {
    refuse(dtype);
  }
}

Rounding rounding_of(Dtype dtype) {
  if (dtype == Dtype::F64) return {0x1p-53, 0};
  if (dtype == Dtype::F32) return {0x1p-24, 0x1p-150};
  if (dtype == Dtype::F16) return {0x1p-11, 0x1p-25};
  if (dtype == Dtype::BF16) return {0x1p-8, 0x1p-134};
  refuse(dtype);
}

ExponentRange exponents_of(Dtype dtype) {
  if (dtype == Dtype::F64) return {-1074, 1023};
  if (dtype == Dtype::F32 || is_readable_block(dtype)) return {-149, 127};
  if (dtype == Dtype::F16) return {-24, 15};
  if (dtype == Dtype::BF16) return {-133, 127};
  refuse(dtype);
}

}  // namespace attnsym
