#pragma once

#include <optional>

#include "symmetry/attention_symmetry.hpp"
#include "symmetry/stored_attention.hpp"
#include "verify/matching.hpp"

namespace attnsym {

/// The element with act(b_from_a, a) == b exactly, if one exists among matched heads with gauges made of a
/// permutation, signs and powers of two, and no bias shift.
/// @pre both modules have the same config and all biases
std::optional<AttentionElement<double>> exact_transport(const StoredAttention& a, const StoredAttention& b,
                                                        const Matching& matching);

}  // namespace attnsym
