#include "verify/bound.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/gauge_blocks.hpp"

namespace attnsym {

InputRadius::InputRadius(double radius, const AttentionConfig& config)
    : query(std::hypot(radius, 1.0)),
      key(key_bias_counts(config) ? query : radius),
      value(config.value_bias_counts() ? query : radius) {}

double output_bound(const std::vector<HeadDistance>& heads, double constant_difference,
                    const InputRadius& radius) {
  double bound = constant_difference;
  for (const HeadDistance& head : heads) {
    const double logits = radius.key * radius.query * head.qk_difference;
    // tanh is not correctly rounded; half its argument and 1 are both above it.
    const double softmax = std::min({std::tanh(logits / 2) * (1 + 1e-15), logits / 2, 1.0});
    bound += 2 * softmax * radius.value * head.vo_norm + radius.value * head.vo_difference;
  }
  // At most ten roundings per term and one per sum, each by a relative 2^-53.
  return bound * (1 + 0x1p-52 * static_cast<double>(10 + heads.size()));
}

}  // namespace attnsym
