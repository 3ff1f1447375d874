#pragma once

#include "symmetry/attention_weights.hpp"
#include "symmetry/random.hpp"

namespace attnsym {

/// Random weights for which logits and outputs are of the size of one, whatever the scale: far from where
/// softmax is linear or saturated.
AttentionWeights<double> generic_weights(const AttentionConfig& config, Random& random);

}  // namespace attnsym
