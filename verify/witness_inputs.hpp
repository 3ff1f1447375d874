#pragma once

#include <vector>

#include "symmetry/random.hpp"
#include "verify/witness_search.hpp"

namespace attnsym {

/// No input that is tried has more tokens.
constexpr Index longest_input = 60;

/// Whether two modules are one on all of these: equal but for what rotary positions do in longer sequences.
bool is_alike_in_short(const StoredAttention& a, const StoredAttention& b);

/// The inputs that a witness search tries first, in order; n x D each, n >= 3; centred where the config's
/// are.
std::vector<Matrix<double>> candidate_inputs(const AttentionConfig& config, const Suspects& suspects,
                                             Random& random);

}  // namespace attnsym
