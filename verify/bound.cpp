#include "verify/bound.hpp"

#include <cmath>

namespace attnsym {

double output_bound(const std::vector<HeadDistance>& heads, double constant_difference, double radius) {
  double bound = constant_difference;
  for (const HeadDistance& head : heads) {
    const double logits = radius * std::hypot(radius, 1.0) * head.qk_difference;
    bound += 2 * std::tanh(logits / 2) * radius * head.vo_norm + radius * head.vo_difference;
  }
  return bound;
}

}  // namespace attnsym
