#pragma once

#include <optional>

#include "verify/verdict.hpp"

namespace attnsym {

/// Where to look for a separating input.
struct WitnessHints {
  double logit_norm = 1;       ///< |M| of the suspect head, to bring its logits to a useful size
  Matrix<double> directions;   ///< unit rows, D wide, in which the suspect circuits differ most; may be empty
  double direction_logit = 1;  ///< largest logit between two of the directions
};

/// Hints from the circuits of the suspect head in both modules: the leading singular directions of their
/// differences. There a difference stands out most, because rounding noise is spread over all directions.
WitnessHints hints_from(const Circuit<double>& qk_a, const Circuit<double>& qk_b, const Circuit<double>& vo_a,
                        const Circuit<double>& vo_b);

/// Searches a fixed list of random and of sparse inputs for one whose gap is at least `factor` times its
/// noise. The best one found is returned either way; its gap and noise tell.
Witness search_witness(const StoredAttention& a, const StoredAttention& b, const WitnessHints& hints,
                       double factor, std::uint64_t seed);

}  // namespace attnsym
