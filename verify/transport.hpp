#pragma once

#include <optional>

#include "symmetry/attention_symmetry.hpp"
#include "verify/matching.hpp"

namespace attnsym {

/// The element with act(b_from_a, a) == b exactly, if one exists among matched heads with gauges made of a
/// permutation, signs and powers of two, and no bias shift.
/// @pre both modules have the same config and all biases
std::optional<AttentionElement<double>> exact_transport(const AttentionWeights<double>& a,
                                                        const AttentionWeights<double>& b,
                                                        const Matching& matching);

/// The gauges that carry the keys and values of A closest to those of B, and the shifts that make the biases
/// agree. Absent where a fitted gauge is singular to working precision, as for keys or values of deficient
/// rank.
/// @pre both modules have the same config and all biases
std::optional<AttentionElement<double>> fitted_transport(const AttentionWeights<double>& a,
                                                         const AttentionWeights<double>& b,
                                                         const Matching& matching);

}  // namespace attnsym
