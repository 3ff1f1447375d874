#pragma once

#include <cstdint>

#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// An input and how far apart two stored modules are on it.
struct Witness {
  Matrix<double> input;       ///< n x D, n >= 3
  Matrix<double> output_a;    ///< n x D
  Matrix<double> output_b;    ///< n x D
  double gap = 0;             ///< |output_a - output_b|, Frobenius
  double gap_at_least = 0;    ///< a proved lower bound of the gap of the stored numbers [N9]
  double noise = 0;           ///< the largest gap that rounding the weights produced in several draws [N7]
  double apart_at_least = 0;  ///< a proved lower bound of the gap of any two modules that round to these [N9]
  double separation = 0;      ///< the largest difference of two entries in units of what all rounding, at its
                              ///< worst, could make of it; above 1 exactly where apart_at_least is above 0

  /// gap / noise; 0 for no gap or one that is not finite.
  double strength() const;
};

/// Whether the input proves that the modules differ: at least three tokens [N3], a gap of at least `factor`
/// times the drawn noise (which has room for float32 arithmetic in the tools that made the files [N7]), and
/// no two modules that round to these agree on it.
bool separates(const Witness& witness, double factor);

/// Evaluates both modules on an input, with the noise of `draws` draws. Nothing is searched.
/// @param input  n x D
Witness measure(const StoredAttention& a, const StoredAttention& b, const Matrix<double>& input, int draws,
                std::uint64_t seed);

}  // namespace attnsym
