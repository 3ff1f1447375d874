#pragma once

#include <optional>

#include "symmetry/run_tasks.hpp"
#include "verify/matching.hpp"
#include "verify/verdict.hpp"

namespace attnsym {

/// A change of basis between two modules, and how the heads compare that it matches.
struct FittedTransport {
  AttentionElement<double> b_from_a;
  std::vector<HeadComparison> heads;  ///< by head of A; rounding explains all of them
};

/// The change of basis that carries A to B along a matching, by least squares for both sides of every gauge.
/// Every circuit of A agrees with its image within rounding, and so does every circuit that mixes a moved
/// factor of A with one of B. Where queries and keys are normalised it carries them with their gains, see
/// stored_queries, and their norms agree as well. Absent where no fit does that, as for factors of deficient
/// rank.
/// @param run_tasks  runs one task per key/value group
/// @pre both modules have the same config, without gates, and all biases
std::optional<FittedTransport> fitted_transport(const StoredAttention& a, const StoredAttention& b,
                                                const Matching& matching,
                                                const RunTasks& run_tasks = run_in_turn);

}  // namespace attnsym
