#pragma once

#include <optional>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/safetensors_writer.hpp"
#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// The inverse of read_attention: weights under the names, shapes and dtypes they have in the checkpoint;
/// those of a GGUF or llama2.c file as Hugging Face stores them, what was quantised in F32. @param store_as
/// replaces the dtypes.
/// @throws ShapeError if the weights do not fit the module, FormatError naming the tensor if a weight is not
/// finite or overflows its dtype.
std::vector<NamedTensor> attention_tensors(const Checkpoint& checkpoint, Index layer,
                                           const AttentionWeights<double>& weights,
                                           std::optional<Dtype> store_as = {});

/// @throws FormatError with file, tensor, position and number if attention_tensors would round one.
void require_exact(const Checkpoint& checkpoint, Index layer, const AttentionWeights<double>& weights,
                   std::optional<Dtype> store_as = {});

}  // namespace attnsym
