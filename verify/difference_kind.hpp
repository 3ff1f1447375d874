#pragma once

#include <string>
#include <vector>

#include "symmetry/projection.hpp"
#include "symmetry/stored_attention.hpp"
#include "symmetry/stored_transformer.hpp"

namespace attnsym {

/// What the difference of two stored matrices looks like.
enum class DifferenceKind {
  None,          ///< all numbers are equal
  FewEntries,    ///< at most one number in a hundred differs, or three
  Rounding,      ///< one has fewer digits and is the other rounded to them
  Quantisation,  ///< one lies on a coarse grid in every block, and is the other rounded to it
  LowRank,       ///< of low rank but for rounding, as merged adapters (LoRA) leave it
  Dense,         ///< in all directions, as full fine-tuning leaves it
  Unrelated,     ///< as large as the matrices: other weights, or the same in another basis
};

/// The difference of two matrices, entry for entry: both are taken to be in one basis.
struct MatrixDifference {
  DifferenceKind kind = DifferenceKind::None;
  double relative = 0;  ///< |B - A| / |A|, Frobenius
  double changed = 0;   ///< share of the numbers that differ
  Index detail = 0;     ///< significant bits of the rounded one, bits of the grid, or the rank; else 0
};

/// @param a, b  rows of a file as columns, which is where quantised numbers come in blocks
/// @param noise  Frobenius norm of what rounding may have added to the difference
/// @pre equal shapes
MatrixDifference matrix_difference(const Matrix<double>& a, const Matrix<double>& b, double noise);

/// The same of one projection, without biases.
struct ProjectionDifference : MatrixDifference {
  Projection projection = Projection::Query;
};

/// One per projection, the largest relative difference first.
/// @pre equal heads, groups and widths; all biases are there, see with_all_biases
std::vector<ProjectionDifference> projection_differences(const StoredAttention& a, const StoredAttention& b);

/// "rounding to 8 significant bits", "low rank (4)", "a dense change, as full fine-tuning leaves it", ...
std::string describe(const MatrixDifference& difference);

}  // namespace attnsym
