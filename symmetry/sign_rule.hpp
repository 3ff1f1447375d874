#pragma once

#include <optional>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// The fixed probe that decides signs: any matrix, or one whose columns are pairs of w and i w, complex
/// vectors as real parts above imaginary ones.
enum class Probe { Plain, Embedded };

/// The vectors of that probe; a column does not depend on how many there are.
/// @param columns  at least so many
/// @param probed_rows  how many of the first rows are not zero, of an embedded one in each half; all if
/// absent
template <RealScalar S>
Matrix<S> sign_probe(Index rows, Index columns, Probe kind, const std::optional<Index>& probed_rows);

/// The block diagonal rotation that fixes the signs of single columns and the rotations of clusters [N6.2],
/// and the margin with which it does. It has to be applied to the scaled factors: inside a cluster the
/// singular values need not be equal.
template <RealScalar S>
struct Fixing {
  Matrix<S> rotation;
  S margin{1};
};

/// @param sigma  singular values, descending; those closer than coincidence * sigma_1 are a cluster
/// @param columns, core, lengths  the scaled factor is columns * core, with columns of these lengths
template <RealScalar S>
Fixing<S> fix_columns(const RowVector<S>& sigma, const Matrix<S>& columns, const Matrix<S>& core,
                      const RowVector<S>& lengths, S coincidence, Probe kind,
                      const std::optional<Index>& probed_rows);

}  // namespace attnsym
