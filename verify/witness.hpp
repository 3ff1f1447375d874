#pragma once

#include <optional>

#include "verify/verdict.hpp"

namespace attnsym {

/// The gap of two modules on one input and the rounding noise there: the largest output change over several
/// draws that move every stored weight of both modules within its rounding and the arithmetic allowance [N7],
/// plus what double arithmetic itself may leave.
/// @param input  n x D, n >= 3: shorter sequences cannot separate every pair [N3]
Witness measure_witness(const StoredAttention& a, const StoredAttention& b, const Matrix<double>& input,
                        std::uint64_t seed);

/// Where to look for a separating input.
struct WitnessHints {
  double logit_norm = 1;           ///< |M| of the suspect head, to bring its logits to a useful size
  std::vector<Index> coordinates;  ///< input coordinates in which the circuits differ most
};

/// Searches a fixed list of random and of sparse inputs for one whose gap is at least `factor` times its
/// noise. The best one found is returned either way; its gap and noise tell.
Witness search_witness(const StoredAttention& a, const StoredAttention& b, const WitnessHints& hints,
                       double factor, std::uint64_t seed);

}  // namespace attnsym
