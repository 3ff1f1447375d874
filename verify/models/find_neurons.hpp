#pragma once

#include <optional>
#include <vector>

#include "verify/checker/neurons.hpp"

namespace attnsym {

/// For every neuron of A the neuron of B that it may be [N12], -1 for one that puts out nothing: permuted,
/// and where the activation allows it scaled. No cubic algorithm, and no more than some neurons of both in
/// memory: numbers of a neuron for fixed probes say which others come into question. What it returns has to
/// be compared.
/// @returns nothing if different numbers of neurons do something
std::optional<std::vector<Index>> match_neurons(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b,
                                                Index model_width);

/// Two MLPs compared in the files' own order, or else matched.
MlpComparison compare_mlps(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b, Index model_width,
                           const MlpRules& rules);

}  // namespace attnsym
