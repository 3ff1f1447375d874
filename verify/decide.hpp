#pragma once

#include <cstdint>
#include <optional>

#include "symmetry/run_tasks.hpp"
#include "verify/verdict.hpp"

namespace attnsym {

struct DecideOptions {
  double witness_factor = 10;  ///< a witness counts when its gap is this many times its drawn noise
  double worst_resolution = coarsest_resolution;  ///< agreement at a coarser resolution is undecided [N7]
  std::uint64_t seed = 1;                         ///< of the witness search
  bool search_witness = true;                     ///< else a difference is undecided
  std::optional<double> input_radius;             ///< R for the output bound [N8], where it is known
  RunTasks run_tasks = run_in_turn;               ///< how independent parts are computed
};

/// Decides whether two modules compute the same function [N3, N7], whatever their ranks and shapes.
///
/// `identical` and `equivalent` rest on equal reduced forms, entry for entry or within rounding: heads
/// matched one to one and the change of basis between them where there is one, else heads put together by
/// their QK circuits, with equal sums of OV circuits; and on equal constants. `distinct` rests on an input
/// that separates all modules that round to these two. What neither covers - a difference near the rounding,
/// a resolution too coarse - is `undecided` with the reason, never guessed.
/// @throws ShapeError if the model widths differ or weights do not fit their config, FormatError on a
/// non-finite weight
Decision decide_equivalence(StoredAttention a, StoredAttention b, const DecideOptions& options = {});

}  // namespace attnsym
