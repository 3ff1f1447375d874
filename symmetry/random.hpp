#pragma once

#include <cstdint>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// A small deterministic generator (splitmix64): the same seed gives the same numbers on every platform,
/// which certificates and canonical forms rely on and std::normal_distribution does not promise.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }

  /// Uniform on 0..bound-1, for 1 <= bound < 2^32.
  Index below(Index bound) {
    return static_cast<Index>(((bits() >> 32U) * static_cast<std::uint64_t>(bound)) >> 32U);
  }

  /// Uniform on [-1, 1], a multiple of 2^-20: exact in every scalar of this project.
  double uniform() {
    constexpr double steps = 1 << 20;
    return static_cast<double>(below(2 * (1 << 20) + 1)) / steps - 1;
  }

  double normal();

 private:
  std::uint64_t state_;
};

/// A fixed rows x cols matrix with entries from Random::uniform. Canonical forms and probes are defined by
/// it, so it may never change within a schema version.
template <Scalar S>
Matrix<S> fixed_probe(Index rows, Index cols, std::uint64_t salt) {
  Random random(salt);
  Matrix<S> probe(rows, cols);
  for (Index i = 0; i < probe.size(); ++i) probe.data()[i] = S(random.uniform());
  return probe;
}

}  // namespace attnsym
