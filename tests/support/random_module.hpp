#pragma once

#include <cmath>
#include <vector>

#include "symmetry/attention_weights.hpp"
#include "symmetry/random.hpp"
#include "symmetry/stored_attention.hpp"

namespace attnsym::testing {

/// A module of this config with fixed pseudo-random weights in [-1, 1].
template <Scalar S>
AttentionWeights<S> random_weights(const AttentionConfig& c, std::uint64_t seed) {
  AttentionWeights<S> w;
  const auto matrix = [&](Index rows, Index cols) {
    return fixed_probe<S>(rows, cols, seed = seed * 31 + 7);
  };
  const auto bias = [&](bool present, Index size) { return RowVector<S>(matrix(1, present ? size : 0)); };
  for (Index j = 0; j < c.groups; ++j) {
    KvGroup<S> group{matrix(c.model_width, c.key_width),
                     matrix(c.model_width, c.value_width),
                     bias(c.key_bias, c.key_width),
                     bias(c.value_bias, c.value_width),
                     {}};
    for (Index i = 0; i < c.readers_per_group(); ++i) {
      group.readers.push_back({matrix(c.model_width, c.key_width), matrix(c.value_width, c.model_width),
                               bias(c.query_bias, c.key_width)});
      if (c.sinks) group.readers.back().sink = matrix(1, 1);
      if (c.bucket_count() > 0) group.readers.back().distance_bias = matrix(1, c.bucket_count());
      if (c.output_gate) group.readers.back().gate = matrix(c.model_width, c.value_width);
      if (c.gate_bias) group.readers.back().gate_bias = matrix(1, c.value_width);
    }
    w.groups.push_back(std::move(group));
  }
  w.output_bias = bias(c.output_bias, c.model_width);
  const auto gain = [&](bool present, Index size) {
    RowVector<S> row = bias(present, size);
    for (Index k = 0; k < row.size(); ++k) row(k) = S(1) + row(k) / S(2);
    return row;
  };
  const auto has = [&](QkGains gains) { return c.qk_norm && c.qk_norm->gains == gains; };
  w.query_gain = gain(has(QkGains::Shared), c.key_width);
  w.key_gain = gain(has(QkGains::Shared), c.key_width);
  if (!has(QkGains::Own) && !has(QkGains::Temperature)) return w;
  for (KvGroup<S>& group : w.groups) {
    group.gain = gain(has(QkGains::Own), c.key_width);
    for (QueryHead<S>& reader : group.readers) reader.gain = gain(true, has(QkGains::Own) ? c.key_width : 1);
  }
  return w;
}

/// Unit roundoffs of the storage formats.
constexpr double f32 = 0x1p-24;
constexpr double f16 = 0x1p-11;
constexpr double bf16 = 0x1p-8;

inline double rounded(double value, double unit) {
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(mantissa / unit) * unit, exponent);
}

/// The module as a file with this unit roundoff would hold it. Exponents are unlimited here.
inline StoredAttention stored(const AttentionConfig& config, AttentionWeights<double> weights, double unit) {
  for_each_slot(weights, [&](auto& slot) {
    for (Index i = 0; i < slot.size(); ++i) slot.data()[i] = rounded(slot.data()[i], unit);
  });
  StoredAttention module{config, weights, weights};
  for_each_slot(module.radius, [&](auto& slot) { slot = unit * slot.cwiseAbs(); });
  return module;
}

/// Another module that the stored one may have been rounded from: every weight moved by its radius times
/// step(), which is in [-1, 1].
template <class Step>
AttentionWeights<double> moved_within_radii(const StoredAttention& module, Step step) {
  AttentionWeights<double> moved = module.weights;
  std::vector<const double*> radii;
  for_each_slot(module.radius, [&](const auto& slot) { radii.push_back(slot.data()); });
  std::size_t next = 0;
  for_each_slot(moved, [&](auto& slot) {
    const double* radius = radii[next++];
    for (Index i = 0; i < slot.size(); ++i) slot.data()[i] += radius[i] * step();
  });
  return moved;
}

}  // namespace attnsym::testing
