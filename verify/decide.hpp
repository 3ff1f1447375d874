#pragma once

#include <cstdint>
#include <optional>

#include "verify/verdict.hpp"

namespace attnsym {

struct DecideOptions {
  double witness_factor = 10;  ///< a witness counts when its gap is this many times its rounding noise
  double worst_resolution = coarsest_resolution;  ///< agreement at a coarser resolution is undecided [N7]
  std::uint64_t seed = 1;                         ///< of the witness search
  std::optional<double> input_radius;             ///< R for the output bound [N8], where it is known
};

/// Decides whether two modules compute the same function [N3, N7].
///
/// `identical` and `equivalent` rest on matched heads whose circuits agree, entry for entry or within
/// rounding, and on equal constants; that is sufficient at every rank. `distinct` rests on a separating
/// input. What neither covers - modules of different shape, deficient rank, circuits that several heads
/// share, a resolution too coarse - is `undecided` with the reason, never guessed.
/// @throws ShapeError if the model widths differ or weights do not fit their config, FormatError on a
/// non-finite weight
Decision decide_equivalence(const StoredAttention& a, const StoredAttention& b,
                            const DecideOptions& options = {});

}  // namespace attnsym
