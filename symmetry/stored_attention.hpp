#pragma once

#include "symmetry/attention_config.hpp"
#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// A module as somebody stored it: the numbers, and for every number the largest error that rounding it to
/// its storage format may have left (N7). The radii have the shapes of the weights; zero means exact.
struct StoredAttention {
  AttentionConfig config;
  AttentionWeights<double> weights;
  AttentionWeights<double> radius;
};

}  // namespace attnsym
