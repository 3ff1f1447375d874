#pragma once

#include <vector>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// A cheapest one-to-one assignment of rows to columns of a square cost matrix with finite entries.
struct Assignment {
  std::vector<Index> column_of_row;
  double cost = 0;
};

/// Shortest augmenting paths with potentials (Kuhn-Munkres as of Jonker and Volgenant), O(n^3), double costs.
/// @throws ShapeError if the matrix is not square or an entry is not finite.
Assignment solve_assignment(const Matrix<double>& cost);

}  // namespace attnsym
