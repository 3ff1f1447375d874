#pragma once

#include <vector>

#include "symmetry/gauge_blocks.hpp"
#include "verify/stored_factors.hpp"

namespace attnsym {

/// Both sides of one kind of gauge, queries and keys or values and outputs, and what they are made of.
struct GaugeKind {
  std::vector<GaugeBlock> blocks;
  std::vector<double> factors;    ///< per block what multiplies its circuits
  std::vector<bool> free_biases;  ///< coordinates whose written bias does nothing
  StoredFactor (*written)(const StoredAttention& module, Index group);  ///< keys or values
  StoredFactor (*reading)(const StoredAttention& module, Index head);   ///< queries or transposed outputs
};

GaugeKind qk_kind(const AttentionConfig& config);
GaugeKind vo_kind(const AttentionConfig& config);

/// What a group writes, free biases left out.
StoredFactor written_factor(const GaugeKind& kind, const StoredAttention& module, Index group);

}  // namespace attnsym
