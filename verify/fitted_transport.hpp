#pragma once

#include <optional>

#include "symmetry/attention_symmetry.hpp"
#include "verify/matching.hpp"

namespace attnsym {

/// The element that carries A to B within the rounding of both: gauges fitted in the least squares sense,
/// shifts that make the biases agree, and every circuit that mixes a moved factor of A with one of B within
/// rounding of that of B. Absent where no fit does that, as for factors of deficient rank.
/// @pre both modules have the same config and all biases, and the matched circuits agree within rounding
std::optional<AttentionElement<double>> fitted_transport(const StoredAttention& a, const StoredAttention& b,
                                                         const Matching& matching);

}  // namespace attnsym
