#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tools/model_explanation.hpp"
#include "verify/models/decide_models.hpp"

namespace attnsym {

/// What `check --scope model` found.
struct ModelCheckResult {
  ModelDecision decision;
  Outputs outputs = Outputs::Logits;
  std::uint64_t seed = 0;
  std::optional<Index> numbers_per_patch;       ///< of models of images, whose tokens are these numbers
  std::optional<ModelExplanation> explanation;  ///< if asked for; of equal models empty
  std::vector<std::string> unread{};            ///< tensors of either that its model does not read
  std::optional<std::string> certificate;       ///< the file, if one was written
  std::size_t bytes_read = 0;
  double seconds = 0;
};

/// "logits" or "probabilities"
const char* name_of(Outputs outputs);

/// On standard output: one JSON object of schema attnsym.check/1, or text for people.
void print_json(const ModelCheckResult& result);
void print_text(const ModelCheckResult& result);

}  // namespace attnsym
