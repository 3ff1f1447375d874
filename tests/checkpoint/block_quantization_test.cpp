#include "checkpoint/block_quantization.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"

namespace attnsym {
namespace {

using Bytes = std::vector<std::byte>;
using Numbers = std::vector<double>;

constexpr std::array<Dtype, 3> kinds{Dtype::Q8_0, Dtype::Q4_0, Dtype::Q4_1};

void append_half(Bytes& bytes, double value) {
  std::array<std::byte, 2> half{};
  encode(Dtype::F16, {&value, 1}, half);
  bytes.insert(bytes.end(), half.begin(), half.end());
}

void append_nibbles(Bytes& bytes, const std::array<int, 32>& codes) {
  for (std::size_t i = 0; i < 16; ++i) bytes.push_back(static_cast<std::byte>(codes[i] | codes[i + 16] << 4));
}

// llama.cpp's reference quantisers, of one block.
Bytes quantized(Dtype kind, const Numbers& x) {
  Bytes bytes;
  std::array<int, 32> codes{};
  const auto [low, high] = std::ranges::minmax(x);
  const double largest = -low > high ? low : high;
  const double step = kind == Dtype::Q8_0   ? std::abs(largest) / 127
                      : kind == Dtype::Q4_0 ? largest / -8
                                            : (high - low) / 15;
  const auto code = [&](double number) { return step == 0 ? 0 : number / step; };
  append_half(bytes, step);
  if (kind == Dtype::Q8_0) {
    for (const double number : x)
      bytes.push_back(static_cast<std::byte>(static_cast<int>(std::round(code(number)))));
    return bytes;
  }
  if (kind == Dtype::Q4_1) append_half(bytes, low);
  for (std::size_t i = 0; i < 32; ++i)
    codes[i] =
        std::min(15, static_cast<int>(kind == Dtype::Q4_0 ? code(x[i]) + 8.5 : code(x[i] - low) + 0.5));
  append_nibbles(bytes, codes);
  return bytes;
}

Numbers random_block(std::mt19937& random, double scale) {
  std::student_t_distribution<double> tails(3);
  Numbers block(32);
  for (double& number : block) number = scale * tails(random);
  return block;
}

TEST(BlockQuantization, DecodesByHand) {
  Bytes q8;
  append_half(q8, 0.5);
  for (int i = 0; i < 32; ++i) q8.push_back(static_cast<std::byte>(i - 16));
  Bytes q4;
  append_half(q4, -0.25);
  std::array<int, 32> codes{};
  for (int i = 0; i < 32; ++i) codes[static_cast<std::size_t>(i)] = i % 16;
  append_nibbles(q4, codes);
  Bytes q41;
  append_half(q41, 2);
  append_half(q41, -3);
  append_nibbles(q41, codes);
  Numbers out(32);
  for (int i = 0; i < 32; ++i) {
    const auto at = static_cast<std::size_t>(i);
    decode_blocks(Dtype::Q8_0, q8, out, {});
    EXPECT_EQ(out[at], 0.5 * (i - 16));
    decode_blocks(Dtype::Q4_0, q4, out, {});
    EXPECT_EQ(out[at], -0.25 * (i % 16 - 8));
    decode_blocks(Dtype::Q4_1, q41, out, {});
    EXPECT_EQ(out[at], 2.0 * (i % 16) - 3);
  }
}

TEST(BlockQuantization, RadiiCoverWhatTheQuantiserDid) {
  std::mt19937 random(7);
  Numbers out(32);
  Numbers radius(32);
  for (const Dtype kind : kinds) {
    double closest = 0;
    for (int i = 0; i < 2000; ++i) {
      const Numbers block = random_block(random, std::exp2(i % 20 - 12));
      decode_blocks(kind, quantized(kind, block), out, radius);
      for (std::size_t k = 0; k < 32; ++k) {
        EXPECT_LE(std::abs(out[k] - block[k]), radius[k]) << name_of(kind);
        closest = std::max(closest, std::abs(out[k] - block[k]) / radius[k]);
      }
    }
    EXPECT_GT(closest, 0.95) << "half a step is reached";
  }
}

// A third of the squared radius is the variance of N7: near step^2 / 12, and what really happens on average
// where numbers are spread over the codes. (Heavy tails put most numbers of a block of Q4_0 near its code for
// zero, where they lose less.)
TEST(BlockQuantization, VarianceIsThatOfTheStep) {
  std::mt19937 random(8);
  std::normal_distribution<double> normal;
  Numbers block(32);
  Numbers out(32);
  Numbers radius(32);
  for (const Dtype kind : kinds) {
    double error = 0;
    double predicted = 0;
    for (int i = 0; i < 2000; ++i) {
      std::ranges::generate(block, [&] { return normal(random); });
      decode_blocks(kind, quantized(kind, block), out, radius);
      for (std::size_t k = 0; k < 32; ++k) {
        error += (out[k] - block[k]) * (out[k] - block[k]);
        predicted += radius[k] * radius[k] / 3;
      }
    }
    EXPECT_GT(error / predicted, 0.85) << name_of(kind);
    EXPECT_LT(error / predicted, 1) << name_of(kind);
  }
}

TEST(BlockQuantization, ClippedNumbersHaveAWholeStep) {
  Numbers block(32, 0.0);
  block[0] = -8;   // the scale is 1
  block[1] = 7.9;  // would be code 16, and becomes 15
  block[20] = 3;
  Numbers out(32);
  Numbers radius(32);
  decode_blocks(Dtype::Q4_0, quantized(Dtype::Q4_0, block), out, radius);
  EXPECT_EQ(out[1], 7);
  EXPECT_NEAR(radius[1], 1, 0.01);
  EXPECT_NEAR(radius[20], 0.5, 0.01);
  EXPECT_NEAR(radius[0], 0.5, 0.01);
}

// Their scale may have been too small for float16.
TEST(BlockQuantization, ZeroBlocksHaveWhatTheirScaleMayHaveLost) {
  Numbers out(32, 1);
  Numbers radius(32, 1);
  for (const Dtype kind : kinds) {
    decode_blocks(kind, quantized(kind, Numbers(32, 0.0)), out, radius);
    EXPECT_EQ(out, Numbers(32, 0.0));
    EXPECT_GT(radius[0], 0) << name_of(kind);
    EXPECT_LT(radius[0], 0x1p-24) << name_of(kind);
    EXPECT_EQ(radius, Numbers(32, radius[0]));
  }
}

TEST(BlockQuantization, NumbersAreThoseOfFloat32) {
  Bytes bytes;
  append_half(bytes, 0x1p-24);
  append_half(bytes, 1024 + 1);
  append_nibbles(bytes, std::array<int, 32>{1});
  Numbers out(32);
  decode_blocks(Dtype::Q4_1, bytes, out, {});
  EXPECT_EQ(out[0], 1025) << "1025 + 2^-24 has more than 24 bits";
  EXPECT_EQ(out[1], 1025);
}

TEST(BlockQuantization, BrokenScalesGiveNoNumbers) {
  Numbers out(32);
  for (const double broken : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Bytes bytes;
    append_half(bytes, broken);
    bytes.resize(34);
    decode_blocks(Dtype::Q8_0, bytes, out, {});
    EXPECT_TRUE(std::ranges::none_of(out, [](double number) { return std::isfinite(number); }));
  }
}

TEST(BlockQuantization, RefusesOtherTypesAndSizes) {
  Numbers out(32);
  testing::expect_error<FormatError>([&] { decode_blocks(Dtype::Q6_K, Bytes(210), out, {}); }, {"Q6_K"});
  testing::expect_error<FormatError>([&] { decode_blocks(Dtype::F32, Bytes(128), out, {}); }, {"F32"});
  testing::expect_error<ShapeError>([&] { decode_blocks(Dtype::Q8_0, Bytes(33), out, {}); },
                                    {"33 bytes", "Q8_0"});
  testing::expect_error<ShapeError>([&] { decode_blocks(Dtype::Q8_0, Bytes(68), out, {}); }, {"68 bytes"});
  testing::expect_error<ShapeError>(
      [&] {
        decode_blocks(Dtype::Q8_0, Bytes(34), out, {out.data(), 5});
      },
      {"34"});
}

TEST(BlockDtypes, AreNoneOfSafetensors) {
  for (const Dtype kind : kinds) {
    EXPECT_FALSE(parse_dtype(name_of(kind)));
    EXPECT_EQ(block_length(kind), 32U);
    EXPECT_EQ(written_dtype(kind), Dtype::F32);
    std::array<double, 32> zeros{};
    Bytes bytes(size_of(kind));
    testing::expect_error<FormatError>([&] { encode(kind, {zeros.data(), 1}, bytes); }, {name_of(kind)});
  }
  EXPECT_EQ(written_dtype(Dtype::BF16), Dtype::BF16);
}

}  // namespace
}  // namespace attnsym
