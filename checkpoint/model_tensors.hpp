#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_model.hpp"
#include "checkpoint/safetensors_writer.hpp"

namespace attnsym {

/// Where the numbers of a block are, attention included, and those outside of blocks.
std::vector<StoredTensor> stored_block_tensors(const Checkpoint& checkpoint, Index layer);
std::vector<StoredTensor> stored_outside_tensors(const Checkpoint& checkpoint);

/// The names of all tensors of the whole model, attention included.
std::set<std::string> model_tensor_names(const Checkpoint& checkpoint);

/// What is outside of blocks, at once. @returns weights without blocks
TransformerWeights<double> read_outside(const CheckpointModel& model);

/// The inverse of reading: the tensors of a block under the names, shapes and dtypes they have in the
/// checkpoint; those of a GGUF or llama2.c file as Hugging Face stores them. @param store_as replaces dtypes
/// @throws ShapeError if the block does not fit, FormatError naming the tensor if a number is not finite or
/// overflows its dtype
std::vector<NamedTensor> block_tensors(const Checkpoint& checkpoint, Index layer, const Block<double>& block,
                                       std::optional<Dtype> store_as = {});

/// The same of what is outside of blocks.
std::vector<NamedTensor> outside_tensors(const Checkpoint& checkpoint,
                                         const TransformerWeights<double>& outside,
                                         std::optional<Dtype> store_as = {});

}  // namespace attnsym
