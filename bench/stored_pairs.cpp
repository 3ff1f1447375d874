#include "bench/stored_pairs.hpp"

#include <cmath>

namespace attnsym::bench {
namespace {

double rounded(double value, double unit) {
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(mantissa / unit) * unit, exponent);
}

}  // namespace

StoredAttention stored(const AttentionConfig& config, AttentionWeights<double> weights,
                       const Format& format) {
  for_each_slot(weights, [&](auto& slot) {
    slot = slot.unaryExpr([&](double value) { return rounded(value, format.unit); });
  });
  StoredAttention module{config, weights, std::move(weights)};
  for_each_slot(module.radius, [&](auto& slot) { slot = format.unit * slot.cwiseAbs(); });
  return module;
}

AttentionWeights<double> heavy_tailed(const AttentionConfig& config, double spread, Random& random) {
  const auto matrix = [&](Index rows, Index cols) {
    Matrix<double> m(rows, cols);
    for (Index i = 0; i < m.size(); ++i) m.data()[i] = random.normal() * std::exp(spread * random.normal());
    return m;
  };
  const auto bias = [&](bool present, Index size) {
    return RowVector<double>(matrix(1, present ? size : 0));
  };
  const double key_scale = 1 / std::sqrt(static_cast<double>(config.model_width));
  AttentionWeights<double> w;
  for (Index j = 0; j < config.groups; ++j) {
    KvGroup<double> group{key_scale * matrix(config.model_width, config.key_width),
                          key_scale * matrix(config.model_width, config.value_width),
                          bias(config.key_bias, config.key_width),
                          bias(config.value_bias, config.value_width),
                          {}};
    for (Index i = 0; i < config.readers_per_group(); ++i) {
      group.readers.push_back({key_scale * matrix(config.model_width, config.key_width),
                               key_scale * matrix(config.value_width, config.model_width),
                               bias(config.query_bias, config.key_width), bias(config.sinks, 1)});
    }
    w.groups.push_back(std::move(group));
  }
  w.output_bias = bias(config.output_bias, config.model_width);
  return w;
}

}  // namespace attnsym::bench
