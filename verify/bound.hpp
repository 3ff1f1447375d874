#pragma once

#include <vector>

namespace attnsym {

/// What the output bound needs to know of one matched pair of heads; upper bounds, all of them.
struct HeadDistance {
  double qk_difference = 0;  ///< |M_i - M'_i|, Frobenius
  double vo_difference = 0;  ///< |N_i - N'_i|, Frobenius
  double vo_norm = 0;        ///< |N_i| or |N'_i|, Frobenius
};

/// [N8] For all inputs whose tokens have norm at most `radius`, at every token:
/// |out - out'| <= sum_i ( 2 tanh(d_i / 2) R |N_i| + R |N_i - N'_i| ) + |c - c'|,  d_i = R sqrt(R^2 + 1) |M_i
/// - M'_i|. Every operation is rounded up, so that the result is an upper bound if the arguments are.
double output_bound(const std::vector<HeadDistance>& heads, double constant_difference, double radius);

}  // namespace attnsym
