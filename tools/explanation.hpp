#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/model.hpp"
#include "verify/difference_kind.hpp"
#include "verify/verdict.hpp"

namespace attnsym {

/// A slip as people and programs read it.
struct NamedSlip {
  std::string text;
  std::vector<std::string> tensors;  ///< of B; empty for its configuration
};

/// Why one layer of B does not compute what A's does.
struct LayerExplanation {
  std::size_t layer = 0;
  std::vector<NamedSlip> slips;  ///< without them it would; empty if none is known
  /// Where no slip is known and both modules have one shape: their projections, the largest difference first,
  /// and the tensors that have them.
  std::vector<ProjectionDifference> differences;
  std::vector<std::string> tensors;
  std::vector<Index> heads;  ///< of A that rounding does not explain, the largest ratio first
};

/// Tries the known slips on every layer that differs [N11].
/// @param decisions  one per layer
std::vector<LayerExplanation> explain_differences(const Model& a, const Model& b,
                                                  const std::vector<Decision>& decisions);

/// For people, on standard output.
void print_explanation(const std::vector<LayerExplanation>& layers);

nlohmann::json explanation_json(const std::vector<LayerExplanation>& layers);

}  // namespace attnsym
