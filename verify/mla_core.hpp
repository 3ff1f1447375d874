#pragma once

#include "symmetry/attention_weights.hpp"
#include "symmetry/mla_weights.hpp"

namespace attnsym {

/// Latent attention as attention that reads longer tokens (z_q, z_kv, x): both latents, gains included, and
/// the token itself, from which the rotary key is read.
struct MlaCore {
  Index kv;     ///< where the latent of keys and values starts
  Index token;  ///< where the token does
  Index width;

  explicit MlaCore(const MlaConfig& config)
      : kv(config.query_latent), token(kv + config.kv_latent), width(token + config.model_width) {}

  /// Turned coordinates of queries and keys come first.
  AttentionConfig config(const MlaConfig& config) const {
    AttentionConfig core{width, config.heads, config.heads, config.rotary_width() + config.key_width,
                         config.value_width};
    core.causal = config.causal;
    core.scale = config.scale;
    core.rotary = config.rotary;
    return core;
  }

  /// Outputs are the first D of each longer token's; gains are left out.
  template <Scalar S>
  AttentionWeights<S> weights(const MlaConfig& config, const MlaWeights<S>& weights) const {
    const Index turned = config.rotary_width();
    AttentionWeights<S> core;
    for (const MlaHead<S>& head : weights.heads) {
      Matrix<S> query = Matrix<S>::Zero(width, turned + config.key_width);
      query.topRows(config.query_latent) << head.rotary_query, head.query;
      Matrix<S> key = Matrix<S>::Zero(width, turned + config.key_width);
      key.block(token, 0, config.model_width, turned) = weights.rotary_key;
      key.block(kv, turned, config.kv_latent, config.key_width) = head.key;
      Matrix<S> value = Matrix<S>::Zero(width, config.value_width);
      value.middleRows(kv, config.kv_latent) = head.value;
      Matrix<S> output = Matrix<S>::Zero(config.value_width, width);
      output.leftCols(config.model_width) = head.output;
      core.groups.push_back({key, value, {}, {}, {{query, output, {}}}});
    }
    return core;
  }
};

}  // namespace attnsym
