#include "verify/generic_weights.hpp"

#include <cmath>

namespace attnsym {
namespace {

Matrix<double> normal_matrix(Random& random, Index rows, Index cols, double deviation) {
  Matrix<double> result(rows, cols);
  for (Index i = 0; i < result.size(); ++i) result.data()[i] = deviation * random.normal();
  return result;
}

}  // namespace

AttentionWeights<double> generic_weights(const AttentionConfig& c, Random& random) {
  const double by_width = 1 / std::sqrt(static_cast<double>(c.model_width));
  const double by_scale = 1 / (std::abs(c.scale) * std::sqrt(static_cast<double>(c.key_width)));
  const auto matrix = [&](Index rows, Index cols, double size) {
    return normal_matrix(random, rows, cols, size);
  };
  const auto bias = [&](bool present, Index width, double size) {
    return RowVector<double>(matrix(1, present ? width : 0, size));
  };
  const auto has = [&](QkGains gains) { return c.qk_norm && c.qk_norm->gains == gains; };
  const Index own_width = has(QkGains::Temperature) ? 1 : c.key_width;
  AttentionWeights<double> weights;
  for (Index j = 0; j < c.groups; ++j) {
    KvGroup<double> group{matrix(c.model_width, c.key_width, by_width),
                          matrix(c.model_width, c.value_width, by_width),
                          bias(c.key_bias, c.key_width, 1),
                          bias(c.value_bias, c.value_width, 1),
                          {},
                          bias(has(QkGains::Own), c.key_width, 1)};
    for (Index i = 0; i < c.readers_per_group(); ++i) {
      group.readers.push_back(
          {matrix(c.model_width, c.key_width, by_width * by_scale), matrix(c.value_width, c.model_width, 1),
           bias(c.query_bias, c.key_width, by_scale), bias(c.sinks, 1, 1),
           bias(has(QkGains::Own) || has(QkGains::Temperature), own_width, 1),
           bias(true, c.bucket_count(), 1),
           matrix(c.output_gate ? c.model_width : 0, c.output_gate ? c.value_width : 0, by_width),
           bias(c.gate_bias, c.value_width, 1)});
    }
    weights.groups.push_back(std::move(group));
  }
  weights.output_bias = bias(c.output_bias, c.model_width, 1);
  weights.query_gain = bias(has(QkGains::Shared), c.key_width, 1);
  weights.key_gain = bias(has(QkGains::Shared), c.key_width, 1);
  return weights;
}

}  // namespace attnsym
