#pragma once

#include "symmetry/attention_config.hpp"
#include "symmetry/attention_weights.hpp"
#include "symmetry/format_rounding.hpp"

namespace attnsym {

/// A module as somebody stored it: the numbers, and for every number the largest error that rounding it to
/// its storage format may have left (N7). The radii have the shapes of the weights; zero means exact.
struct StoredAttention {
  AttentionConfig config;
  AttentionWeights<double> weights;
  AttentionWeights<double> radius;
  bool independent{true};  ///< errors of different numbers are; not behind a rotation of the stream
};

/// The formats that hold a projection's matrix and its bias.
struct ProjectionRounding {
  Rounding weight;
  Rounding bias;
};

/// The same with the formats in place of a radius for every number: half the memory. Gains are left out.
struct RoundedAttention {
  AttentionConfig config;
  AttentionWeights<double> weights;
  ProjectionRounding query;
  ProjectionRounding key;
  ProjectionRounding value;
  ProjectionRounding output;
};

}  // namespace attnsym
