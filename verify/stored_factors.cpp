#include "verify/stored_factors.hpp"

#include <cmath>

#include "symmetry/circuits.hpp"
#include "symmetry/gauge_blocks.hpp"
#include "symmetry/safe_norm.hpp"

namespace attnsym {
namespace {

const QueryHead<double>& reader_of(const AttentionWeights<double>& weights, const AttentionConfig& config,
                                   Index head) {
  return weights.groups[head / config.readers_per_group()].readers[head % config.readers_per_group()];
}

StoredFactor raw_queries(const StoredAttention& module, Index head) {
  const auto homogeneous_of = [&](const AttentionWeights<double>& weights) {
    const QueryHead<double>& reader = reader_of(weights, module.config, head);
    return homogeneous(reader.query, reader.query_bias);
  };
  return {homogeneous_of(module.weights), homogeneous_of(module.radius)};
}

StoredFactor raw_keys(const StoredAttention& module, Index group) {
  const auto homogeneous_of = [&](const AttentionWeights<double>& weights) {
    return homogeneous(weights.groups[group].key, weights.groups[group].key_bias);
  };
  return {homogeneous_of(module.weights), homogeneous_of(module.radius)};
}

// Where an epsilon sets the scale, (dk epsilon)^(1/2); else the scale is free, and this is |W|.
double norm_unit(const AttentionConfig& config, const StoredFactor& factor) {
  if (config.qk_norm->epsilon > 0)
    return std::sqrt(static_cast<double>(config.key_width) * config.qk_norm->epsilon);
  const double size = safe_norm(factor.value);
  return size > 0 ? size : 1;
}

StoredFactor normed(const AttentionConfig& config, StoredFactor factor) {
  const double unit = norm_unit(config, factor);
  factor.value /= unit;
  factor.radius /= unit;
  return factor;
}

// The errors of a product are those of both, independent.
StoredFactor with_gain(const AttentionConfig& config, StoredFactor factor, const RowVector<double>& gain,
                       const RowVector<double>& gain_radius) {
  if (!config.qk_norm) return factor;
  factor = normed(config, std::move(factor));
  factor.radius = (factor.radius * gain.cwiseAbs().asDiagonal())
                      .binaryExpr(factor.value * gain_radius.asDiagonal(),
                                  [](double x, double y) { return std::hypot(x, y); });
  factor.value *= gain.asDiagonal();
  return factor;
}

}  // namespace

StoredFactor stored_queries(const StoredAttention& module, Index head) {
  StoredFactor queries = with_gain(module.config, raw_queries(module, head), module.weights.query_gain,
                                   module.radius.query_gain);
  if (module.config
          .qk_norm) {  // a norm is a length divided by the root of the width, one for queries, one for keys
    queries.value *= static_cast<double>(module.config.key_width);
    queries.radius *= static_cast<double>(module.config.key_width);
  }
  return queries;
}

StoredFactor stored_keys(const StoredAttention& module, Index group) {
  return with_gain(module.config, raw_keys(module, group), module.weights.key_gain, module.radius.key_gain);
}

void clear_free_biases(StoredFactor& keys, const AttentionConfig& config) {
  const std::vector<bool> free = free_key_biases(config);
  const Index last = keys.value.rows() - 1;
  for (Index k = 0; k < keys.value.cols(); ++k) {
    if (free[k]) keys.value(last, k) = keys.radius(last, k) = 0;
  }
}

AttentionWeights<double> with_gains(const StoredAttention& module) {
  AttentionWeights<double> weights = module.weights;
  if (!module.config.qk_norm) return weights;
  const Index d = module.config.model_width;
  Index head = 0;
  for (Index j = 0; j < module.config.groups; ++j) {
    KvGroup<double>& group = weights.groups[j];
    const Matrix<double> keys = stored_keys(module, j).value;
    group.key = keys.topRows(d);
    group.key_bias = keys.row(d);
    for (QueryHead<double>& reader : group.readers) {
      const Matrix<double> queries = stored_queries(module, head++).value;
      reader.query = queries.topRows(d);
      reader.query_bias = queries.row(d);
    }
  }
  weights.query_gain = weights.key_gain = RowVector<double>();
  return weights;
}

StoredFactor stored_values(const StoredAttention& module, Index group) {
  const auto homogeneous_of = [&](const AttentionWeights<double>& weights) {
    return homogeneous(weights.groups[group].value, weights.groups[group].value_bias);
  };
  return {homogeneous_of(module.weights), homogeneous_of(module.radius)};
}

StoredFactor stored_outputs(const StoredAttention& module, Index head) {
  return {reader_of(module.weights, module.config, head).output.transpose(),
          reader_of(module.radius, module.config, head).output.transpose()};
}

StoredFactor normed_queries(const StoredAttention& module, Index head) {
  return normed(module.config, raw_queries(module, head));
}

StoredFactor normed_keys(const StoredAttention& module, Index group) {
  return normed(module.config, raw_keys(module, group));
}

}  // namespace attnsym
