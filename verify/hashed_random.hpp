#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "symmetry/stored_attention.hpp"

struct evp_md_ctx_st;  // of OpenSSL

namespace attnsym {

/// 256 bits that stand for some numbers.
using Digest = std::array<std::byte, 32>;

/// SHA-256 of what is added.
class Hasher {
 public:
  Hasher();

  Hasher& add(std::span<const std::byte> bytes);

  /// Of numbers, as they lie in memory: a matrix or a vector.
  template <class Numbers>
  Hasher& add_all(const Numbers& numbers) {
    return add(std::as_bytes(std::span(numbers.data(), static_cast<std::size_t>(numbers.size()))));
  }

  template <class Number>
  Hasher& add_one(Number number) {
    return add(std::as_bytes(std::span(&number, 1)));
  }

  Digest digest();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

/// Of the config and of all weights of a module.
Digest digest_of(const StoredAttention& module);

/// Uniform random bits that nobody could know who made the numbers they are to judge: SHA-256 in counter
/// mode over a seed, a purpose, and digests of these numbers. Whoever changes a number to suit the bits gets
/// others [N9]. The same inputs and seed give the same bits.
class HashedRandom {
 public:
  HashedRandom(std::uint64_t seed, std::string_view purpose, const std::vector<Digest>& inputs);

  std::uint64_t bits();

 private:
  void refill();

  Digest key_{};
  std::uint64_t counter_ = 0;
  std::array<std::uint64_t, 4> block_{};
  std::size_t used_ = 4;
};

}  // namespace attnsym
