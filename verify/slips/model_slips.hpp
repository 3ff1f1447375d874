#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "verify/models/decide_models.hpp"

namespace attnsym {

/// A slip of a conversion that concerns a whole model outside of the projections of attention [N11], see
/// Slip.
struct ModelSlip {
  std::string text;

  /// B without the slip; null if it cannot have been made there. Refers to both, which have to outlive it.
  std::function<std::unique_ptr<StoredModel>(const StoredModel& b, const StoredModel& a)> undone;
};

/// Settings in the configuration without which two models cannot be compared.
const std::vector<ModelSlip>& known_setting_slips();

/// All other slips that are known, the likeliest first.
const std::vector<ModelSlip>& known_model_slips();

/// B without slips, in the order in which they were undone.
struct MendedModel {
  std::vector<std::string> slips;
  std::vector<std::unique_ptr<StoredModel>> models;  ///< without the first, the first two, ...
  ModelDecision decision;                            ///< of A and the last, no tokens searched

  const StoredModel& last(const StoredModel& b) const { return models.empty() ? b : *models.back(); }
};

/// Whether pieces were compared and all agree but, it may be, attention.
bool agrees_outside_attention(const ModelDecision& decision);

/// B with A's settings, and without the smallest set of other known slips, none, one or two, such that it
/// agrees with A outside of attention; with all of them where no such set is known.
/// @param decision  of A and B
MendedModel mend(const StoredModel& a, const StoredModel& b, ModelDecision decision,
                 const ModelDecideOptions& options);

}  // namespace attnsym
