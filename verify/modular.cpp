#include "verify/modular.hpp"

#include <array>
#include <bit>

namespace attnsym {
namespace {

std::uint64_t multiply_slowly(std::uint64_t x, std::uint64_t y, std::uint64_t p) {
  return static_cast<std::uint64_t>(static_cast<Wide>(x) * y % p);
}

// Newton: every step doubles the number of correct low bits of 1/p.
std::uint64_t inverse_modulo_radix(std::uint64_t p) {
  std::uint64_t x = p;  // right in 3 bits
  for (int i = 0; i < 5; ++i) x *= 2 - p * x;
  return x;
}

// Whether `base` proves that candidate = odd 2^twos + 1 is composite.
bool proves_composite(std::uint64_t base, std::uint64_t candidate, std::uint64_t odd, int twos) {
  std::uint64_t x = 1;
  std::uint64_t square = base % candidate;
  for (std::uint64_t e = odd; e > 0; e >>= 1U) {
    if ((e & 1U) != 0) x = multiply_slowly(x, square, candidate);
    square = multiply_slowly(square, square, candidate);
  }
  if (x == 1 || x == candidate - 1) return false;
  for (int i = 1; i < twos; ++i) {
    x = multiply_slowly(x, x, candidate);
    if (x == candidate - 1) return false;
  }
  return true;
}

}  // namespace

bool is_prime(std::uint64_t candidate) {
  // The first twelve primes decide every number below 3.3e24 (Sorenson and Webster, 2015).
  constexpr std::array<std::uint64_t, 12> bases{2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
  if (candidate < 2) return false;
  for (const std::uint64_t base : bases) {
    if (candidate % base == 0) return candidate == base;
  }
  std::uint64_t odd = candidate - 1;
  int twos = 0;
  for (; odd % 2 == 0; odd /= 2) ++twos;
  for (const std::uint64_t base : bases) {
    if (proves_composite(base, candidate, odd, twos)) return false;
  }
  return true;
}

Modulus::Modulus(std::uint64_t p) : p_(p), negative_inverse_(~inverse_modulo_radix(p) + 1) {
  const auto radix = static_cast<std::uint64_t>((static_cast<Wide>(1) << 64U) % p);
  square_of_radix_ = multiply_slowly(radix, radix, p);
  one_ = radix;
  const std::uint64_t half = of_integer((p + 1) / 2);
  powers_[1] = of_integer(power(half, 1074));
  powers_[0] = powers_[1];
  for (std::size_t field = 2; field < exponent_fields; ++field)
    powers_[field] = add(powers_[field - 1], powers_[field - 1]);
}

std::uint64_t Modulus::power(std::uint64_t base, std::uint64_t exponent) const {
  std::uint64_t result = one_;
  for (; exponent > 0; exponent >>= 1U) {
    if ((exponent & 1U) != 0) result = multiply(result, base);
    base = multiply(base, base);
  }
  return result;
}

std::uint64_t Modulus::of_double(double value) const {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  const std::uint64_t field = (bits >> 52U) & 0x7ffU;
  const std::uint64_t fraction = bits & 0xfffffffffffffU;
  const std::uint64_t integer = field == 0 ? fraction : fraction | (std::uint64_t{1} << 52U);
  const std::uint64_t residue = multiply(integer, powers_[field]);
  return std::bit_cast<std::int64_t>(value) < 0 ? negate(residue) : residue;
}

}  // namespace attnsym
