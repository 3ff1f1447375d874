#include "verify/models/arithmetic_sums.hpp"

#include <algorithm>

namespace attnsym {

Index rotation_sums(Index model_width) { return std::max<Index>(1, model_width / 16); }

ArithmeticSums sums_of(const TransformerConfig& config) {
  const TransformerGroup::Stream stream = TransformerGroup(config).stream();
  const bool rotates =
      stream == TransformerGroup::Stream::Orthogonal || stream == TransformerGroup::Stream::Centred;
  ArithmeticSums sums;
  if (rotates) sums.weights = rotation_sums(config.model_width);
  sums.read_biases = config.norm == NormKind::Layer ? config.model_width : sums.weights;
  sums.attention = sums.weights;
  for (const AttentionConfig& module : config.attention)
    sums.attention = std::max({sums.attention, module.key_width, module.value_width});
  return sums;
}

}  // namespace attnsym
