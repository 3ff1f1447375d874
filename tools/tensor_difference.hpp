#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
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

/// What became of a tensor, as people and programs read it.
struct NamedDifference {
  std::string tensor;  ///< its name in B, or in A if B has none
  std::string kind;    ///< see describe(MatrixDifference); else "only in A", "only in B", "another shape"
  TensorDifference difference;
};

/// Adds to the list unless nothing differs or the tensor is there already: projections may share one.
void note_difference(std::vector<NamedDifference>& list, const std::optional<StoredTensor>& a,
                     const std::optional<StoredTensor>& b);

/// For people, in one line.
std::string describe(const NamedDifference& one);

nlohmann::json difference_json(const NamedDifference& one);

}  // namespace attnsym
