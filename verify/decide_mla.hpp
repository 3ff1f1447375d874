#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "symmetry/stored_mla.hpp"
#include "verify/checker/mla_evidence.hpp"
#include "verify/models/decide_models.hpp"

namespace attnsym {

/// A sequence of tokens on which two modules differ.
struct MlaWitness : MlaGap {
  Matrix<double> input;  ///< n x D
};

struct MlaDecision {
  ModelVerdict verdict = ModelVerdict::Undecided;
  std::string reason;
  /// The turns of latents that carry A to B, dq x dq and dc x dc: W_b = t W_a U^T.
  Matrix<double> query_turn;
  Matrix<double> kv_turn;
  EntryComparison query_latent;  ///< of W_b and t W_a U^T
  EntryComparison kv_latent;
  Decision heads;  ///< of what reads the latents and the token
  std::optional<MlaWitness>
      witness;  ///< of distinct modules; else the best that was found, if one was sought
};

/// Decides whether two modules of latent attention compute the same function [N5, Proposition 7].
///
/// Every verdict but `undecided` has passed the checker [mla_evidence]. `identical` and `equivalent` rest on
/// turns of the latents under which their projections agree, and heads that agree as functions of latents and
/// token as decide_equivalence says. `distinct` rests on a sequence whose outputs are further apart than 10
/// times what rounding explains. Modules that agree in neither way are `undecided`: latents that are no turns
/// of each other might still be used alike.
/// @param seed  of the search for sequences
/// @throws ShapeError if widths of the model differ or weights do not fit their config
MlaDecision decide_mla(const StoredMla& a, const StoredMla& b, std::uint64_t seed = 1);

}  // namespace attnsym
