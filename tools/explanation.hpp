#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "symmetry/run_tasks.hpp"
#include "tools/model.hpp"
#include "tools/tensor_difference.hpp"
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
  double ratio = 0;  ///< the largest of its heads, their rows and columns included, or of the constant
  std::vector<NamedSlip> slips;  ///< without them it would; empty if none is known
  /// Where no slip is known and both modules have one shape: their projections, the largest difference first,
  /// and the tensors that have them.
  std::vector<ProjectionDifference> differences;
  std::vector<std::string> tensors;
  std::vector<NamedDifference>
      vectors;               ///< biases, and gains of norms that queries and keys have or that stand in front
  std::vector<Index> heads;  ///< of A that rounding does not explain, the largest ratio first
};

/// The modules of a layer of A and B.
using ModulePair = std::function<std::array<StoredAttention, 2>(Index layer)>;

/// Tries the known slips on every layer that differs [N11]. Layers with slips come first, in order; then the
/// others, the largest ratio first.
/// @param decisions  one per layer
/// @param run  layers; as many are in memory as it runs at once
/// @param modules  where slips are looked for; as they are stored where this is empty
std::vector<LayerExplanation> explain_differences(const Model& a, const Model& b,
                                                  const std::vector<Decision>& decisions, const RunTasks& run,
                                                  ModulePair modules = {});

/// For people, on standard output.
void print_explanation(const std::vector<LayerExplanation>& layers);

/// The same without heading and where nothing differs.
void print_layers(const std::vector<LayerExplanation>& layers);

nlohmann::json explanation_json(const std::vector<LayerExplanation>& layers);

}  // namespace attnsym
