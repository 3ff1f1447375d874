#pragma once

#include <vector>

#include "symmetry/attention_config.hpp"

namespace attnsym {

/// What the output bound needs to know of one matched pair of heads; upper bounds, all of them.
struct HeadDistance {
  double qk_difference = 0;  ///< |M_i - M'_i|, Frobenius
  double vo_difference = 0;  ///< |N_i - N'_i|, Frobenius
  double vo_norm = 0;        ///< |N_i| or |N'_i|, Frobenius
};

/// How long tokens can be, as each side of a circuit sees them: R, or sqrt(R^2 + 1) where a bias counts.
struct InputRadius {
  double query = 0;
  double key = 0;
  double value = 0;

  /// @param radius  R
  InputRadius(double radius, const AttentionConfig& config = {});
};

/// [N8] For all inputs whose tokens are within `radius`, at every token and every distance:
/// |out - out'| <= sum_i ( 2 tanh(d_i / 2) R |N_i| + R |N_i - N'_i| ) + |c - c'|,  d_i = R sqrt(R^2 + 1) |M_i
/// - M'_i|. Every operation is rounded up, so that the result is an upper bound if the arguments are.
double output_bound(const std::vector<HeadDistance>& heads, double constant_difference,
                    const InputRadius& radius);

}  // namespace attnsym
