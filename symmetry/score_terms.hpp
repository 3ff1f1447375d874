#pragma once

#include <compare>
#include <vector>

#include "symmetry/circuits.hpp"

namespace attnsym {

/// A function of the distance between query and key: cos(frequency * distance), or sin.
struct Harmonic {
  double frequency = 0;  ///< in [0, pi]; 0 is the constant 1
  double beyond = 0;     ///< the frequency in sequences for which Rotary::beyond holds
  bool sine = false;

  // clang-tidy 14 takes its 0 for a pointer. NOLINTNEXTLINE(modernize-use-nullptr)
  auto operator<=>(const Harmonic&) const = default;

  /// Whether these are cosine and sine of one block.
  bool turns_like(const Harmonic& other) const {
    return frequency == other.frequency && beyond == other.beyond;
  }
};

/// One term of a score: harmonic(distance) x^ M y^T, with M = left right^T.
template <Scalar S>
struct ScoreTerm {
  Harmonic harmonic;
  Circuit<S> circuit;
};

/// The score of head i for a query x at position m and a key y at position n,
/// s (x Q^_i) R^(m-n) (y K_j(i) + bk_j(i))^T, as a sum of terms with different harmonics of m - n, ascending:
/// one term without rotary positions, a cosine and a sine for every frequency of theirs. Different harmonics
/// are linearly independent on the whole numbers, so two heads have the same score iff all terms agree [N3,
/// N5]. What softmax ignores, key biases that are free, is left out: rows of M are those of x^ = (x, 1),
/// columns those of y, and of (y, 1) where key_bias_counts(config).
template <Scalar S>
std::vector<ScoreTerm<S>> score_terms(const AttentionConfig& config, const AttentionWeights<S>& weights,
                                      Index head);

}  // namespace attnsym
