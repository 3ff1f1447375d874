#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/explanation.hpp"
#include "tools/tensor_difference.hpp"
#include "verify/models/decide_models.hpp"

namespace attnsym {

/// A part of two models that differs outside of attention.
struct PartExplanation {
  std::string name;  ///< "embeddings", "block 3 MLP", ...
  double ratio = 0;  ///< of its difference to what rounding explains, over the limit
  std::vector<NamedDifference> tensors;
};

/// Why B is not the model A.
struct ModelExplanation {
  std::vector<std::string> slips;           ///< of the whole model: what is below is without them
  std::vector<LayerExplanation> attention;  ///< what does, without the slips
  std::vector<PartExplanation> parts;       ///< where no such slips are known: the largest ratio first
};

/// Tries the known slips [N11]: those of whole models until all but attention agrees, then those of
/// attention.
/// @param decision  of model_a and model_b, which a and b hold
ModelExplanation explain_models(const Model& a, const Model& b, const StoredModel& model_a,
                                const StoredModel& model_b, const ModelDecision& decision,
                                const ModelDecideOptions& options);

/// Of models that are not equal, for people, on standard output; no heading.
void print_explanation(const ModelExplanation& explanation);

nlohmann::json explanation_json(const ModelExplanation& explanation);

}  // namespace attnsym
