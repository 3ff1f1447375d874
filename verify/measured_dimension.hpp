#pragma once

#include <cstdint>

#include "symmetry/attention_config.hpp"
#include "verify/null_space.hpp"

namespace attnsym {

/// How the dimension of a group is measured.
struct MeasureOptions {
  Index tokens = 5;        ///< of every input: at least 3, or the function is not all seen [N3]
  std::uint64_t seed = 1;  ///< of weights and inputs
  bool on_sphere = false;  ///< all tokens have the length D^1/2, as behind an RMS norm without gain
};

/// The most parameters of a module that is measured: the time grows with their cube.
constexpr Index most_measured_parameters = 600;

/// The measured counterpart of SymmetryGroup::dimension(), which knows nothing of groups: it differentiates
/// attend() by every stored number, on more and more random inputs until their number makes no difference.
/// @throws ShapeError on an invalid config, or on one with more than most_measured_parameters
MeasuredDimension measure_dimension(const AttentionConfig& config, const MeasureOptions& options = {});

}  // namespace attnsym
