#pragma once

#include "symmetry/balance.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {

/// A pair of factors whose gauges are signed and scaled permutations of columns, in canonical form.
template <RealScalar S>
struct ScaledColumns {
  Balanced<S> balanced;  ///< its sign margin is also the smallest relative gap of two sizes
  Permutation order;     ///< column k of the input is column order(k) now
};

/// Columns of both factors of equal length, signs by the fixed probe of the right one, in descending order of
/// size; a column of which one factor is zero becomes zero in both. Where a gate multiplies values coordinate
/// by coordinate this is all that can be chosen [N5, N6].
/// @param noise  Frobenius norm of what rounding may have added to the circuit: a circuit of norm up to
/// noise, and columns up to noise / sqrt(n), count as zero
template <RealScalar S>
ScaledColumns<S> scale_columns(const Matrix<S>& left, const Matrix<S>& right, S noise);

}  // namespace attnsym
