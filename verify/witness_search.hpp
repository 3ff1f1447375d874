#pragma once

#include <optional>

#include "verify/stored_scores.hpp"
#include "verify/witness.hpp"

namespace attnsym {

/// The circuits in which two modules differ most: where to look for a separating input. Of scores with
/// positions, the term that differs most.
struct Suspects {
  StoredCircuit qk_a;
  StoredCircuit qk_b;
  StoredCircuit vo_a;
  StoredCircuit vo_b;
  Harmonic harmonic{};  ///< of the QK circuits
};

/// Suspects in one head of A and one of B.
Suspects suspects_in(const StoredScores& qk_a, const StoredScores& qk_b, StoredCircuit vo_a,
                     StoredCircuit vo_b);

/// Searches for an input that separates the modules by `factor` [N3: sequences of three tokens suffice]: the
/// zero tokens, which put out the constant; random tokens; the entries and the leading singular directions in
/// which the suspect circuits differ most, because rounding noise is spread over all of them; then ascent
/// from the best of these. What is found is shortened to three tokens where that still separates, and the
/// checker accepts it.
std::optional<Witness> search_witness(const StoredAttention& a, const StoredAttention& b,
                                      const Suspects& suspects, double factor, std::uint64_t seed);

}  // namespace attnsym
