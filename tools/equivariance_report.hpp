#pragma once

#include "tools/exit_status.hpp"
#include "tools/layer_trial.hpp"

namespace attnsym {

/// What `attnsym equivariance` has to tell.
struct EquivarianceReport {
  std::string group;   ///< in words
  std::string replay;  ///< the command line without --only
  TrialOptions options;
  TrialFinding finding;
  int calls = 0;

  ExitStatus status() const;

  /// commutes, breaks, or undecided and why: one line.
  std::string summary() const;
};

void print_text(const EquivarianceReport& report, const LayerGroup& group);
void print_json(const EquivarianceReport& report, const LayerGroup& group);

}  // namespace attnsym
