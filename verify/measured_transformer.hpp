#pragma once

#include <cstdint>

#include "symmetry/transformer_group.hpp"
#include "verify/null_space.hpp"

namespace attnsym {

struct TransformerMeasureOptions {
  Index tokens = 5;  ///< of one input
  Outputs outputs = Outputs::Logits;
  std::uint64_t seed = 1;
};

/// Counts the directions that leave the outputs of a random model of this config unchanged to first order
/// [N12]: to be compared with TransformerGroup::dimension. For models of some hundred parameters.
/// @throws ShapeError on an invalid config
MeasuredDimension measure_dimension(const TransformerConfig& config,
                                    const TransformerMeasureOptions& options = {});

}  // namespace attnsym
