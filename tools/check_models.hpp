#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "tools/executor.hpp"
#include "tools/exit_status.hpp"
#include "tools/model.hpp"
#include "verify/models/decide_models.hpp"

namespace attnsym {

/// What `check --scope model` is asked.
struct ModelCheckOptions {
  Outputs outputs = Outputs::Logits;
  std::uint64_t seed = 1;
  std::size_t threads = default_workers();
  std::optional<std::filesystem::path> certificate;
  bool force = false;    ///< replaces it
  bool explain = false;  ///< why they are not equal
  bool as_json = false;
};

Outputs outputs_of(const std::string& name);

/// Decides whether two models compute the same outputs, and prints the answer.
ExitStatus check_models(Model& a, Model& b, const ModelCheckOptions& options);

}  // namespace attnsym
