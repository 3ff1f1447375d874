#include "verify/checker/gauge_kind.hpp"

#include <cmath>

namespace attnsym {

GaugeKind qk_kind(const AttentionConfig& config) {
  GaugeKind kind{gauge_blocks(config), {}, free_key_biases(config), stored_keys, stored_queries};
  for (const GaugeBlock& block : kind.blocks)
    kind.factors.push_back(config.scale * std::pow(position_gain(config, block), 2));
  return kind;
}

GaugeKind vo_kind(const AttentionConfig& config) {
  return {{real_block(config.value_width)},
          {1},
          std::vector<bool>(static_cast<std::size_t>(config.value_width), value_bias_is_free(config)),
          stored_values,
          stored_outputs};
}

StoredFactor written_factor(const GaugeKind& kind, const StoredAttention& module, Index group) {
  StoredFactor factor = kind.written(module, group);
  const Index last = factor.value.rows() - 1;
  for (Index k = 0; k < factor.value.cols(); ++k) {
    if (kind.free_biases[k]) factor.value(last, k) = factor.radius(last, k) = 0;
  }
  return factor;
}

}  // namespace attnsym
