#pragma once

#include <cstdint>

#include "symmetry/attention_config.hpp"

namespace attnsym {

/// How the dimension of a group is measured.
struct MeasureOptions {
  Index tokens = 5;        ///< of every input: at least 3, or the function is not all seen [N3]
  std::uint64_t seed = 1;  ///< of weights and inputs
};

/// How many directions leave the function of a module unchanged to first order, at random weights [N5].
struct MeasuredDimension {
  Index dimension = 0;         ///< of the null space of the Jacobian of outputs by weights
  Index parameters = 0;        ///< columns of the Jacobian
  Index outputs = 0;           ///< rows of the Jacobian
  double smallest_kept = 0;    ///< singular value outside the null space, relative to the largest
  double largest_dropped = 0;  ///< singular value counted as zero, relative to the largest; 0 without any
};

/// The most parameters of a module that is measured: the time grows with their cube.
constexpr Index most_measured_parameters = 600;

/// The measured counterpart of SymmetryGroup::dimension(), which knows nothing of groups: it differentiates
/// attend() by every stored number, on more and more random inputs until their number makes no difference.
/// @throws ShapeError on an invalid config, or on one with more than most_measured_parameters
MeasuredDimension measure_dimension(const AttentionConfig& config, const MeasureOptions& options = {});

}  // namespace attnsym
