#pragma once

#include <cstdint>

#include "symmetry/mla_weights.hpp"
#include "verify/null_space.hpp"

namespace attnsym {

/// The measured counterpart of MlaSymmetryGroup::dimension(), at random weights and sequences of five tokens.
/// @throws ShapeError on an invalid config, or on one with more than most_measured_parameters
MeasuredDimension measure_dimension(const MlaConfig& config, std::uint64_t seed = 1);

}  // namespace attnsym
