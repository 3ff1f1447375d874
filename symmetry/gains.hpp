#pragma once

#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// What multiplies the normalised queries of a head, coordinate by coordinate: dk numbers, those of all
/// heads, its own, or its temperature dk times [N5].
/// @pre the config has norms, and the weights fit it
template <Scalar S>
RowVector<S> query_gain(const AttentionWeights<S>& weights, const AttentionConfig& config, Index head) {
  const QueryHead<S>& reader =
      weights.groups[head / config.readers_per_group()].readers[head % config.readers_per_group()];
  switch (config.qk_norm->gains) {
    case QkGains::Shared:
      return weights.query_gain;
    case QkGains::Own:
      return reader.gain;
    case QkGains::Temperature:
      return RowVector<S>::Constant(config.key_width, reader.gain(0));
  }
  return {};
}

/// What multiplies the normalised keys of a group; beside temperatures `none` times, 1 in weights and 0 in
/// radii.
template <Scalar S>
RowVector<S> key_gain(const AttentionWeights<S>& weights, const AttentionConfig& config, Index group,
                      const S& none = S(1)) {
  switch (config.qk_norm->gains) {
    case QkGains::Shared:
      return weights.key_gain;
    case QkGains::Own:
      return weights.groups[group].gain;
    case QkGains::Temperature:
      return RowVector<S>::Constant(config.key_width, none);
  }
  return {};
}

}  // namespace attnsym
