#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "symmetry/stored_mla.hpp"
#include "verify/checker/entries.hpp"
#include "verify/verdict.hpp"

namespace attnsym {

/// How two modules of latent attention are one function [N5, Proposition 7].
struct MlaEvidence {
  Matrix<double> query_turn;  ///< U, dq x dq, orthogonal: W_b = t W_a U^T, t = 1 where norms have an epsilon
  Matrix<double> kv_turn;     ///< the same of the other latent, dc x dc
  EqualityEvidence heads;     ///< of what reads the longer tokens (z_q, z_kv, x), z_q and z_kv turned
};

/// Two modules behind turns of A's latents.
struct TurnedMla {
  StoredAttention a;  ///< attention that reads longer tokens, gains multiplied in [MlaCore]
  StoredAttention b;
  EntryComparison query_latent;  ///< of W_b and t W_a U^T
  EntryComparison kv_latent;
};

/// @pre latents of one shape behind norms of one epsilon; the turns have the shapes of MlaEvidence
TurnedMla turned(const StoredMla& a, const StoredMla& b, const Matrix<double>& query_turn,
                 const Matrix<double>& kv_turn);

/// Every number that both modules have is the same, heads permuted and changed as `heads` says, exactly.
std::optional<std::string> refute_mla_identity(const StoredMla& a, const StoredMla& b,
                                               const AttentionElement<double>& heads);

/// The turns are orthogonal, the projections agree behind them, and the heads as functions of longer tokens.
std::optional<std::string> refute_mla_equivalence(const StoredMla& a, const StoredMla& b,
                                                  const MlaEvidence& evidence);

/// What the outputs of two modules on a sequence of tokens, n x D, say.
struct MlaGap {
  double gap = 0;    ///< |output of A - output of B|, Frobenius
  double noise = 0;  ///< the largest change in some draws when all stored numbers were moved at random within
                     ///< their rounding, with room for arithmetic, added over both modules

  double strength() const { return gap / noise; }
};

MlaGap measure_gap(const StoredMla& a, const StoredMla& b, const Matrix<double>& tokens, int draws,
                   std::uint64_t seed);

/// At least three tokens, on which outputs are further apart than witness_factor_to_accept times the noise,
/// which is drawn anew.
std::optional<std::string> refute_mla_witness(const StoredMla& a, const StoredMla& b,
                                              const Matrix<double>& tokens);

/// Of all numbers that are stored.
std::uint64_t seed_from(const StoredMla& a, const StoredMla& b, const Matrix<double>& tokens,
                        std::uint64_t seed, std::string_view purpose);

}  // namespace attnsym
