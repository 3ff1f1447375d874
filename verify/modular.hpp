#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace attnsym {

/// Products of two 64-bit numbers. Not standard C++, but what g++ and clang++ have on every 64-bit machine.
__extension__ using Wide = unsigned __int128;

/// Arithmetic modulo one odd prime p < 2^62, on residues in Montgomery form (x is kept as x 2^64 mod p),
/// which needs no division.
class Modulus {
 public:
  /// @pre p is an odd prime below 2^62
  explicit Modulus(std::uint64_t p);

  std::uint64_t prime() const { return p_; }
  std::uint64_t zero() const { return 0; }
  std::uint64_t one() const { return one_; }

  std::uint64_t add(std::uint64_t x, std::uint64_t y) const {
    const std::uint64_t sum = x + y;
    return sum >= p_ ? sum - p_ : sum;
  }
  std::uint64_t negate(std::uint64_t x) const { return x == 0 ? 0 : p_ - x; }
  std::uint64_t multiply(std::uint64_t x, std::uint64_t y) const { return reduce(static_cast<Wide>(x) * y); }
  std::uint64_t power(std::uint64_t base, std::uint64_t exponent) const;

  /// The residue of an integer below p.
  std::uint64_t of_integer(std::uint64_t value) const { return multiply(value, square_of_radix_); }

  /// The residue of a finite double, which is an integer times a power of two, exactly.
  std::uint64_t of_double(double value) const;

 private:
  std::uint64_t reduce(Wide x) const {
    const std::uint64_t m = static_cast<std::uint64_t>(x) * negative_inverse_;
    const auto t = static_cast<std::uint64_t>((x + static_cast<Wide>(m) * p_) >> 64U);
    return t >= p_ ? t - p_ : t;
  }

  // A finite double is an integer times 2^(exponent field - 1075), or 2^-1074 for the fields 0 and 1.
  static constexpr std::size_t exponent_fields = 2047;

  std::uint64_t p_;
  std::uint64_t negative_inverse_;                     // -1/p mod 2^64
  std::uint64_t square_of_radix_;                      // 2^128 mod p
  std::uint64_t one_;                                  // 2^64 mod p
  std::array<std::uint64_t, exponent_fields> powers_;  // 2^(field - 1075) 2^128 mod p
};

/// A random prime between 2^60 and 2^61. @param draw  gives 64 random bits at every call
template <class Draw>
std::uint64_t random_prime(Draw draw);

/// Whether a 61-bit number is prime: Miller-Rabin with bases that decide every 64-bit number.
bool is_prime(std::uint64_t candidate);

template <class Draw>
std::uint64_t random_prime(Draw draw) {
  for (;;) {
    const std::uint64_t candidate = (std::uint64_t{1} << 60U) | (draw() >> 4U) | 1U;
    if (is_prime(candidate)) return candidate;
  }
}

}  // namespace attnsym
