#pragma once

#include <vector>

#include "symmetry/random.hpp"
#include "verify/witness_search.hpp"

namespace attnsym {

/// The inputs that a witness search tries first, in order; n x D each, n >= 3; centred where the config's
/// are.
std::vector<Matrix<double>> candidate_inputs(const AttentionConfig& config, const Suspects& suspects,
                                             Random& random);

}  // namespace attnsym
