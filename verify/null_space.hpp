#pragma once

#include <functional>
#include <vector>

#include "symmetry/dual.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// How many directions leave the function of a module unchanged to first order, at random weights [N5].
struct MeasuredDimension {
  Index dimension = 0;         ///< of the null space of the Jacobian of outputs by weights
  Index parameters = 0;        ///< columns of the Jacobian
  Index outputs = 0;           ///< rows of the Jacobian
  double smallest_kept = 0;    ///< singular value outside the null space, relative to the largest
  double largest_dropped = 0;  ///< singular value counted as zero, relative to the largest; 0 without any
};

/// The null space of the Jacobian of a module's outputs by its numbers, on more and more inputs until their
/// number makes no difference.
/// @param numbers  all numbers of the module, with derivative 0: they get derivative 1 one after the other
/// @param forward  the outputs for an input, with the derivatives that the numbers carry
/// @param draw_input  a random input, of the same shape every time
MeasuredDimension measure_null_space(const std::vector<Dual*>& numbers,
                                     const std::function<Matrix<Dual>(const Matrix<Dual>&)>& forward,
                                     const std::function<Matrix<double>()>& draw_input);

}  // namespace attnsym
