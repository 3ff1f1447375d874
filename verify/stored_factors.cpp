#include "verify/stored_factors.hpp"

#include <cmath>

#include "symmetry/circuits.hpp"
#include "symmetry/gains.hpp"
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

// How many numbers a norm is the mean square of. A norm over all keys counts those of a group once for every
// reader, which leaves the mean as it is, so that groups may be written out.
double norm_width(const AttentionConfig& config) {
  return static_cast<double>(config.key_width * (config.qk_norm->over_all_heads ? config.heads : 1));
}

// |W| of the weights that a norm is the length of: those of one head or of all.
template <class Factor>
double norm_size(const StoredAttention& module, Index one, Index count, Factor factor_of) {
  if (!module.config.qk_norm->over_all_heads) return safe_norm(factor_of(module, one).value);
  RowVector<double> sizes(count);
  for (Index i = 0; i < count; ++i) sizes(i) = safe_norm(factor_of(module, i).value);
  return std::sqrt(static_cast<double>(module.config.heads / count)) * safe_norm(sizes);
}

// Where an epsilon sets the scale, (width epsilon)^(1/2); else the scale is free, and this is |W|.
template <class Factor>
StoredFactor normed(const StoredAttention& module, Index one, Index count, Factor factor_of) {
  const double epsilon = module.config.qk_norm->epsilon;
  const double unit =
      epsilon > 0 ? std::sqrt(norm_width(module.config) * epsilon) : norm_size(module, one, count, factor_of);
  StoredFactor factor = factor_of(module, one);
  if (!(unit > 0)) return factor;
  factor.value /= unit;
  factor.radius /= unit;
  return factor;
}

// The errors of a product are those of both, independent.
StoredFactor with_gain(StoredFactor factor, const RowVector<double>& gain,
                       const RowVector<double>& gain_radius) {
  factor.radius = (factor.radius * gain.cwiseAbs().asDiagonal())
                      .binaryExpr(factor.value * gain_radius.asDiagonal(),
                                  [](double x, double y) { return std::hypot(x, y); });
  factor.value *= gain.asDiagonal();
  return factor;
}

}  // namespace

StoredFactor stored_queries(const StoredAttention& module, Index head) {
  const AttentionConfig& config = module.config;
  if (!config.qk_norm) return raw_queries(module, head);
  StoredFactor queries = with_gain(normed_queries(module, head), query_gain(module.weights, config, head),
                                   query_gain(module.radius, config, head));
  // A norm is a length divided by the root of its width, one for queries, one for keys.
  queries.value *= norm_width(config);
  queries.radius *= norm_width(config);
  return queries;
}

StoredFactor stored_keys(const StoredAttention& module, Index group) {
  if (!module.config.qk_norm) return raw_keys(module, group);
  return with_gain(normed_keys(module, group), key_gain(module.weights, module.config, group),
                   key_gain(module.radius, module.config, group, 0.0));
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
  clear_gains(weights);
  return weights;
}

void clear_gains(AttentionWeights<double>& weights) {
  weights.query_gain = weights.key_gain = RowVector<double>();
  for (KvGroup<double>& group : weights.groups) {
    group.gain = RowVector<double>();
    for (QueryHead<double>& reader : group.readers) reader.gain = RowVector<double>();
  }
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
  return normed(module, head, module.config.heads, raw_queries);
}

StoredFactor normed_keys(const StoredAttention& module, Index group) {
  return normed(module, group, module.config.groups, raw_keys);
}

}  // namespace attnsym
