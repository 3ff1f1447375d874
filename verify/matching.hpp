#pragma once

#include <vector>

#include "symmetry/permutation.hpp"
#include "symmetry/run_tasks.hpp"
#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// Which group of B each group of A became, and which reader each of its readers: a proposal from
/// fingerprints of the circuits, which the caller has to verify [N4].
struct Matching {
  Permutation groups;
  std::vector<Permutation> readers;  ///< per group of A

  /// The head of B that head `head` of A became.
  Index image_of(Index head) const;
};

/// @pre both modules have the same config
Matching match_heads(const StoredAttention& a, const StoredAttention& b,
                     const RunTasks& run_tasks = run_in_turn);

}  // namespace attnsym
