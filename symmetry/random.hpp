#pragma once

#include <cstdint>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// A small deterministic generator (splitmix64): the same seed gives the same numbers on every platform,
/// which certificates and canonical forms rely on and std::normal_distribution does not promise.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits();

  /// Uniform on 0..bound-1, for 1 <= bound < 2^32.
  Index below(Index bound);

  /// Uniform on [-1, 1], a multiple of 2^-20: exact in every scalar of this project.
  double uniform();

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
