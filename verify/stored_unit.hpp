#pragma once

#include "verify/stored_scores.hpp"

namespace attnsym {

/// The unit roundoff u for which the radii are those of rounding the values, u |w|, on average; the coarser
/// of the two factors. 0 for the zero circuit.
double effective_unit(const StoredCircuit& circuit);
double effective_unit(const StoredScores& scores);

/// The largest effective unit of the module's tensors: how coarsely it is stored.
double storage_unit(const StoredAttention& module);

}  // namespace attnsym
