#include "checkpoint/dtype.hpp"

#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"

namespace attnsym {
namespace {

using testing::expect_error;

double decode_bits(Dtype dtype, std::uint16_t bits) {
  std::byte bytes[2];
  std::memcpy(bytes, &bits, 2);
  double value = 0;
  decode(dtype, bytes, {&value, 1});
  return value;
}

std::uint16_t encode_bits(Dtype dtype, double value) {
  std::byte bytes[2];
  encode(dtype, {&value, 1}, bytes);
  std::uint16_t bits = 0;
  std::memcpy(&bits, bytes, 2);
  return bits;
}

float encode_float(double value) {
  std::byte bytes[4];
  encode(Dtype::F32, {&value, 1}, bytes);
  float result = 0;
  std::memcpy(&result, bytes, 4);
  return result;
}

struct Format {
  Dtype dtype;
  int exponent_bits, fraction_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  std::uint16_t infinity() const {
    return static_cast<std::uint16_t>(((1 << exponent_bits) - 1) << fraction_bits);
  }
};

constexpr Format half{Dtype::F16, 5, 10};
constexpr Format bfloat{Dtype::BF16, 8, 7};

// What the bits mean, by the definition of IEEE 754.
double reference_value(const Format& format, std::uint16_t bits) {
  const int magnitude = bits & 0x7fff;
  const int exponent = magnitude >> format.fraction_bits;
  const int fraction = magnitude & ((1 << format.fraction_bits) - 1);
  const int implicit = exponent == 0 ? 0 : 1 << format.fraction_bits;
  const double value =
      std::ldexp(implicit + fraction, std::max(exponent, 1) - format.bias() - format.fraction_bits);
  return bits & 0x8000 ? -value : value;
}

// The nearest of all numbers of the format by bisection; a tie goes to the even one. The format is continued
// by one number, the infinity, at the place where the next number would be.
std::uint16_t reference_bits(const Format& format, double w) {
  const double magnitude = std::abs(w);
  std::uint16_t below = 0;
  std::uint16_t above = format.infinity();
  while (above - below > 1) {
    const auto middle = static_cast<std::uint16_t>((below + above) / 2);
    (reference_value(format, middle) <= magnitude ? below : above) = middle;
  }
  const double to_below = magnitude - reference_value(format, below);
  const double to_above = reference_value(format, above) - magnitude;
  const bool up = to_above < to_below || (to_above == to_below && below % 2 == 1);
  return static_cast<std::uint16_t>((up ? above : below) | (std::signbit(w) ? 0x8000 : 0));
}

class SixteenBits : public ::testing::TestWithParam<Format> {};

TEST_P(SixteenBits, EveryPatternDecodesToItsValueAndBack) {
  const Format format = GetParam();
  for (int i = 0; i < 65536; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const double value = decode_bits(format.dtype, bits);
    if ((bits & 0x7fff) > format.infinity()) {
      EXPECT_TRUE(std::isnan(value)) << i;
      EXPECT_TRUE(std::isnan(decode_bits(format.dtype, encode_bits(format.dtype, value)))) << i;
      continue;
    }
    if ((bits & 0x7fff) == format.infinity()) {
      EXPECT_TRUE(std::isinf(value)) << i;
    } else {
      EXPECT_EQ(value, reference_value(format, bits)) << i;
    }
    EXPECT_EQ(encode_bits(format.dtype, value), bits) << i;
  }
}

TEST_P(SixteenBits, EncodeRoundsToNearestEven) {
  const Format format = GetParam();
  for (int i = 0; i + 1 < format.infinity(); ++i) {
    const double low = reference_value(format, static_cast<std::uint16_t>(i));
    const double high = reference_value(format, static_cast<std::uint16_t>(i + 1));
    const double tie = low + (high - low) / 2;
    // Just beside a tie in double is a tie in float: rounding twice gets these wrong.
    for (const double w : {tie, std::nextafter(tie, 0.0), std::nextafter(tie, 1e300)}) {
      ASSERT_EQ(encode_bits(format.dtype, w), reference_bits(format, w)) << w;
      ASSERT_EQ(encode_bits(format.dtype, -w), reference_bits(format, -w)) << -w;
    }
  }
}

TEST_P(SixteenBits, EncodeAgreesWithBisectionOnRandomNumbers) {
  const Format format = GetParam();
  std::mt19937_64 bits(7);
  int compared = 0;
  for (int i = 0; i < 200000; ++i) {
    const int exponent = static_cast<int>(bits() % (2U << format.exponent_bits)) - 2 * format.bias();
    const double w = std::ldexp(1.0 + std::ldexp(static_cast<double>(bits() >> 12), -52), exponent);
    const std::uint16_t expected = reference_bits(format, w);
    if (expected == format.infinity()) continue;
    ASSERT_EQ(encode_bits(format.dtype, w), expected) << w;
    ++compared;
  }
  EXPECT_GT(compared, 100000);
}

TEST_P(SixteenBits, OverflowStartsHalfAStepAboveTheLargest) {
  const Format format = GetParam();
  const auto largest_bits = static_cast<std::uint16_t>(format.infinity() - 1);
  const double largest = reference_value(format, largest_bits);
  const double limit =
      largest + (largest - reference_value(format, static_cast<std::uint16_t>(largest_bits - 1))) / 2;
  EXPECT_EQ(encode_bits(format.dtype, std::nextafter(limit, 0.0)), largest_bits);
  for (const double w : {limit, -limit, 1e300, std::numeric_limits<double>::max()}) {
    expect_error<FormatError>([&] { encode_bits(format.dtype, w); }, {"too large", name_of(format.dtype)});
  }
}

TEST_P(SixteenBits, SignsOfZeroAndOfVanishingNumbersStay) {
  const Dtype dtype = GetParam().dtype;
  EXPECT_EQ(encode_bits(dtype, 0.0), 0);
  EXPECT_EQ(encode_bits(dtype, -0.0), 0x8000);
  EXPECT_EQ(encode_bits(dtype, -1e-300), 0x8000);
  EXPECT_EQ(encode_bits(dtype, std::numeric_limits<double>::denorm_min()), 0);
}

INSTANTIATE_TEST_SUITE_P(Formats, SixteenBits, ::testing::Values(half, bfloat),
                         [](const auto& format) { return std::string(name_of(format.param.dtype)); });

TEST(Encode, DoesNotRoundTwiceThroughFloat) {
  const double w = 1 + 0x1p-11 + 0x1p-30;  // above the tie; as a float it is the tie, which rounds down to 1
  EXPECT_EQ(encode_bits(Dtype::F16, w), 0x3c01);
  EXPECT_EQ(static_cast<double>(static_cast<float>(w)), 1 + 0x1p-11) << "the trap is not set";
  EXPECT_EQ(encode_bits(Dtype::BF16, 1 + 0x1p-8 + 0x1p-40), 0x3f81);
}

TEST(Encode, FloatRoundsToNearestEvenWithSubnormals) {
  EXPECT_EQ(encode_float(1 + 0x1p-24), 1.0F);
  EXPECT_EQ(encode_float(1 + 0x1p-24 + 0x1p-50), 1 + 0x1p-23F);
  EXPECT_EQ(encode_float(0x1p-150), 0.0F);
  EXPECT_EQ(encode_float(0x1.8p-149), 0x1p-148F);
  EXPECT_EQ(encode_float(0x1.fffffefp127), std::numeric_limits<float>::max());
  expect_error<FormatError>([] { encode_float(0x1.ffffffp127); }, {"too large", "F32"});
  EXPECT_TRUE(std::isinf(encode_float(std::numeric_limits<double>::infinity())));
}

TEST(Decode, RefusesWrongSizesAndIntegers) {
  std::vector<std::byte> bytes(8);
  std::vector<double> out(3);
  expect_error<ShapeError>([&] { decode(Dtype::F32, bytes, out); }, {"8 bytes", "3 values", "F32"});
  expect_error<FormatError>(
      [&] {
        decode(Dtype::I64, bytes, {out.data(), 1});
      },
      {"I64", "F64, F32, F16 and BF16"});
  expect_error<FormatError>([&] { encode(Dtype::U64, {out.data(), 1}, bytes); }, {"U64"});
}

TEST(Decode, NeedsNoAlignment) {
  const double w = 0.3;
  std::byte bytes[9];
  std::memcpy(bytes + 1, &w, 8);
  double out = 0;
  decode(Dtype::F64, {bytes + 1, 8}, {&out, 1});
  EXPECT_EQ(out, w);
}

TEST(RoundingRadius, IsTheUnitRoundoffTimesTheNumber) {
  EXPECT_EQ(rounding_radius(Dtype::F32, 1.0), 0x1p-24);
  EXPECT_EQ(rounding_radius(Dtype::F16, -2.0), 0x1p-10);
  EXPECT_EQ(rounding_radius(Dtype::BF16, 1.0), 0x1p-8);
  EXPECT_EQ(rounding_radius(Dtype::F64, 1.0), 0x1p-53);
}

TEST(RoundingRadius, HasAFloorAtTheSubnormalsAndZeroHasIt) {
  EXPECT_EQ(rounding_radius(Dtype::F16, 0x1p-24), 0x1p-25);
  EXPECT_EQ(rounding_radius(Dtype::F32, 0x1p-149), 0x1p-150);
  EXPECT_EQ(rounding_radius(Dtype::BF16, 0x1p-133), 0x1p-134);
  for (const Dtype dtype : {Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16}) {
    EXPECT_EQ(rounding_radius(dtype, 0.0), rounding_of(dtype).absolute);
    EXPECT_EQ(rounding_radius(dtype, -0.0), rounding_of(dtype).absolute);
  }
}

TEST(DtypeNames, RoundTrip) {
  for (int i = 0; i <= static_cast<int>(Dtype::F6E3M2); ++i) {
    const auto dtype = static_cast<Dtype>(i);
    EXPECT_EQ(parse_dtype(name_of(dtype)), dtype);
  }
  EXPECT_EQ(parse_dtype("F8_E4M3"), Dtype::F8E4M3);
  EXPECT_EQ(parse_dtype("f32"), std::nullopt);
  EXPECT_EQ(size_of(Dtype::BF16), 2U);
}

}  // namespace
}  // namespace attnsym
