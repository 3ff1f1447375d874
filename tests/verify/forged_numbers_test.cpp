// Numbers made to mislead: what rounds where nobody looks must not decide.
#include <gtest/gtest.h>

#include <boost/multiprecision/cpp_int.hpp>

#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/decide.hpp"
#include "verify/enclosure.hpp"
#include "verify/exact.hpp"

namespace attnsym {
namespace {

using boost::multiprecision::cpp_int;
using testing::f16;
using testing::f32;
using testing::random_weights;
using testing::stored;

// One head of key width 3, whose queries and keys are sums of tokens' coordinates: two for a query, three for
// a key; the last coordinate is the value. So tokens can hold integers of 105 and 158 bits.
constexpr Index query_pieces = 2;
constexpr Index key_pieces = 3;
constexpr Index width = 3 * (query_pieces + key_pieces) + 1;

StoredAttention adding_pieces() {
  AttentionConfig c{width, 1, 1, 3, 1};
  StoredAttention module = stored(c, random_weights<double>(c, 1), 0x1p-53);
  for_each_slot(module.weights, [](auto& slot) { slot.setZero(); });
  KvGroup<double>& group = module.weights.groups[0];
  for (Index k = 0; k < 3; ++k) {
    group.readers[0].query.block(k * query_pieces, k, query_pieces, 1).setOnes();
    group.key.block(3 * query_pieces + k * key_pieces, k, key_pieces, 1).setOnes();
  }
  group.value(width - 1, 0) = 1;
  group.readers[0].output(0, 0) = 1;
  return module;
}

// The same function: first key plus g times the second, second query less g times the first.
StoredAttention sheared(StoredAttention module, double g) {
  KvGroup<double>& group = module.weights.groups[0];
  group.key.col(0) += g * group.key.col(1);
  group.readers[0].query.col(1) -= g * group.readers[0].query.col(0);
  return module;
}

cpp_int random_integer(Random& random, int bits) {
  cpp_int result = 0;
  for (int i = 0; i < bits; i += 32) result = (result << 32) + (random.bits() >> 32U);
  return result >> ((bits + 31) / 32 * 32 - bits);
}

void write(Matrix<double>& tokens, Index row, Index column, const cpp_int& number, Index pieces) {
  const cpp_int size = abs(number);
  const cpp_int low = (cpp_int(1) << 53) - 1;
  for (Index i = 0; i < pieces; ++i) {
    const double piece = std::ldexp(static_cast<double>(cpp_int((size >> (53 * i)) & low)), int(53 * i));
    tokens(row, column + i) = number < 0 ? -piece : piece;
  }
}

// A query and a key whose product is exactly 0, of numbers that no arithmetic of 168 bits multiplies exactly.
Matrix<double> orthogonal_tokens(Random& random) {
  std::array<cpp_int, 3> q;
  std::array<cpp_int, 3> u;
  for (cpp_int& number : q) number = random_integer(random, 104);
  for (cpp_int& number : u) number = random_integer(random, 52);
  Matrix<double> tokens = Matrix<double>::Zero(3, width);
  for (int k = 0; k < 3; ++k) {
    const int next = (k + 1) % 3;
    const int last = (k + 2) % 3;
    write(tokens, 0, k * query_pieces, q[k], query_pieces);
    for (const Index row : {1, 2})
      write(tokens, row, 3 * query_pieces + k * key_pieces, q[next] * u[last] - q[last] * u[next],
            key_pieces);
  }
  tokens(1, width - 1) = tokens(2, width - 1) = 1;
  return tokens;
}

TEST(ForgedWitness, ZeroLogitsOfHugeTokensSeparateNothing) {
  const StoredAttention a = adding_pieces();
  const StoredAttention b = sheared(a, 3);
  ASSERT_STREQ(name_of(decide_exactly(a, b, 5).verdict), "equivalent");
  Random random(3);
  int misled = 0;
  for (int draw = 0; draw < 50; ++draw) {
    const Matrix<double> tokens = orthogonal_tokens(random);
    const auto at_fifty_digits = [&](const StoredAttention& module) {
      return attend(module.config, cast<Float50>(module.weights), Matrix<Float50>(tokens.cast<Float50>()));
    };
    misled += (at_fifty_digits(a) - at_fifty_digits(b)).norm() > 0.1 ? 1 : 0;
    EXPECT_EQ(exact_gap_at_least(a, b, tokens), 0);
    EXPECT_TRUE(refute_witness(a, b, tokens));
  }
  EXPECT_GT(misled, 5) << "50 digits have to be too few for this to show anything";
}

// Tokens as large, without a trick: what differs is seen.
TEST(ForgedWitness, HugeTokensOfHonestModulesSeparate) {
  AttentionConfig c{6, 2, 2, 3, 3};
  c.query_bias = c.value_bias = c.output_bias = true;
  const StoredAttention a = stored(c, random_weights<double>(c, 1), 0x1p-53);
  StoredAttention b = a;
  b.weights.groups[1].value(2, 1) = std::nextafter(a.weights.groups[1].value(2, 1), 2);
  for (const double size : {1e50, 1e100}) {
    const Matrix<double> equal = size * fixed_probe<double>(1, 6, 3).replicate(3, 1);
    EXPECT_GT(exact_gap_at_least(a, b, equal), 0);
    EXPECT_GT(exact_gap_at_least(a, b, size * fixed_probe<double>(4, 6, 4)), 0);
    EXPECT_EQ(exact_gap_at_least(a, a, equal), 0);
  }
}

// A value below the normal numbers rounds by all of itself, and the output makes it large again.
TEST(ForgedWitness, WhatVanishesInDoubleIsInTheRadius) {
  AttentionConfig c{2, 1, 1, 1, 1};
  StoredAttention a = stored(c, random_weights<double>(c, 1), 0x1p-53);
  KvGroup<double>& group = a.weights.groups[0];
  group.value << 3 * 0x1p-1074, 0;
  group.readers[0].output << 0x1p1020, 0;
  a = taken_as_exact(std::move(a));
  Matrix<double> tokens = Matrix<double>::Zero(3, 2);
  tokens.col(0).setConstant(0.3);
  const Enclosure enclosure = enclose_attend(a, tokens);
  const double truth = static_cast<double>(Float50(0.3) * 3 * Float50(0x1p-54));
  EXPECT_GT(std::abs(enclosure.center(0, 0) - truth), 1e-3 * truth)
      << "it has to round for this to show anything";
  EXPECT_LE(std::abs(enclosure.center(0, 0) - truth), enclosure.radius(0, 0));
}

// Products with powers of two round where they are subnormal: equal forwards is not equal backwards.
StoredAttention subnormal_keys(double first, double second, double query) {
  AttentionConfig c{2, 1, 1, 1, 1};
  c.scale = 1e15;
  StoredAttention module = stored(c, random_weights<double>(c, 1), 0x1p-53);
  KvGroup<double>& group = module.weights.groups[0];
  group.key << first, second;
  group.readers[0].query << query, query / 2;
  return module;
}

void expect_unequal_exactly(const StoredAttention& a, const StoredAttention& b) {
  const std::string verdict = name_of(decide_exactly(a, b, 5).verdict);
  EXPECT_TRUE(verdict == "distinct" || verdict == "undecided") << verdict;
}

TEST(ForgedIdentity, RoundingOfSubnormalNumbersIsNoGauge) {
  const double least = std::numeric_limits<double>::denorm_min();
  const StoredAttention a = subnormal_keys(2 * least, 3 * least, 0x1p1022);
  const StoredAttention b = subnormal_keys(least, 2 * least, 0x1p1023);
  for (const auto& [x, y] : {std::pair(a, b), std::pair(b, a)}) {
    EXPECT_STRNE(name_of(decide_equivalence(x, y).verdict), "identical");
    expect_unequal_exactly(x, y);
  }
  const StoredAttention doubled = subnormal_keys(4 * least, 6 * least, 0x1p1021);
  EXPECT_STREQ(name_of(decide_equivalence(a, doubled).verdict), "identical");
}

// Values likewise, and numbers that are subnormal in F16 only, which double holds exactly.
TEST(ForgedIdentity, OfValuesAndInHalfPrecision) {
  for (const double least : {std::numeric_limits<double>::denorm_min(), 0x1p-24}) {
    AttentionConfig c{2, 1, 1, 1, 1};
    const StoredAttention a = [&] {
      StoredAttention module = stored(c, random_weights<double>(c, 1), f16);
      module.weights.groups[0].value << 2 * least, 3 * least;
      module.weights.groups[0].readers[0].output << 0x1p-60 / least, 1;
      return taken_as_exact(module);
    }();
    const auto moved = [&](double first, double second, double factor) {
      StoredAttention module = a;
      module.weights.groups[0].value << first * least, second * least;
      module.weights.groups[0].readers[0].output /= factor;
      return module;
    };
    EXPECT_STRNE(name_of(decide_equivalence(a, moved(1, 2, 0.5)).verdict), "identical") << least;
    EXPECT_STREQ(name_of(decide_equivalence(a, moved(4, 6, 2)).verdict), "identical") << least;
    expect_unequal_exactly(a, moved(1, 2, 0.5));
  }
}

}  // namespace
}  // namespace attnsym
