#pragma once

#include "symmetry/attention_weights.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {

/// Both sides of one gauge [N2]: what it writes (keys or values with their bias as last row), and everything
/// that reads it, the readers below each other in the given order.
struct GaugeSides {
  Matrix<double> written;  ///< (D+1) x n
  Matrix<double> reading;  ///< r (D+1) x n queries with their biases, or r D x n transposed outputs
};

/// @param order  reader i comes to place order(i)
GaugeSides qk_sides(const KvGroup<double>& group, const Permutation& order);
GaugeSides vo_sides(const KvGroup<double>& group, const Permutation& order);

}  // namespace attnsym
