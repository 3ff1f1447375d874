#pragma once

#include <optional>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "verify/difference_kind.hpp"

namespace attnsym {

/// What became of a tensor.
struct TensorDifference {
  MatrixDifference difference;  ///< its kind by the first rows that differ, at most 16 million numbers
  Index rows = 0;               ///< of the tensor, its first axis longer than 1; of a vector 1
  Index changed_rows = 0;
  std::vector<Index> first_changed;  ///< rows, at most eight
};

/// Nothing if the shapes differ. Reads both once, row by row.
std::optional<TensorDifference> tensor_difference(const StoredTensor& a, const StoredTensor& b);

}  // namespace attnsym
