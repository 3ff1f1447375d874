#pragma once

#include "tools/layer_command.hpp"

namespace attnsym {

/// What a layer returned, checkpoint by checkpoint.
struct Returned {
  std::vector<std::string> names;
  std::vector<Dtype> dtypes;
  Index channels = 1;
  std::vector<TensorValues> checkpoints;

  /// The largest entry of one checkpoint. NaN counts as infinite.
  double size(std::size_t checkpoint) const;
};

/// Sorts the outputs of an equivariant layer. @throws FormatError unless they are the tensors of the group's
/// weights, with any number of channels and so many checkpoints.
Returned sorted_weights(const LayerGroup& group, const LayerOutputs& outputs, std::size_t checkpoints);

/// Sorts the outputs of an invariant layer: any tensors with so many checkpoints along their first axis.
/// @throws FormatError
Returned sorted_invariants(const LayerOutputs& outputs, std::size_t checkpoints);

/// @throws FormatError naming the first tensor and entry that is not finite.
void require_finite(const Returned& returned);

/// @throws FormatError unless two checkpoints are equal but for rounding.
void require_equal(const Returned& returned, std::size_t a, std::size_t b);

/// The largest error that passes, relative to the output: the table of tolerances for F64 and F32, and 32
/// units roundoff for F16 and BF16.
double rounding_limit(Dtype dtype);

}  // namespace attnsym
