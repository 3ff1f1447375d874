#pragma once

#include <optional>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/stored_numbers.hpp"
#include "symmetry/exact_gauges.hpp"
#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// Layers with an attention module.
Index layer_count(const Checkpoint& checkpoint);

/// The module of one layer, 0 <= layer < layer_count(); a bias is there if its tensor is.
/// @throws FormatError if a weight is missing or not of a readable dtype, ShapeError if a tensor's shape
/// disagrees with config.json.
AttentionConfig attention_config(const Checkpoint& checkpoint, Index layer);

/// The module's weights in the conventions of N1, with the errors that their dtypes may have left [N7]; pairs
/// that positions turn half-split, whatever the file has.
/// @throws as attention_config, and FormatError with file, tensor and position if an entry is not finite.
StoredAttention read_attention(const Checkpoint& checkpoint, Index layer, Radii radii = Radii::Quantized);

/// Whether weights are stored [in, out]: as the layout says, unless the shapes say otherwise (minGPT's
/// files).
bool stores_transposed(const Checkpoint& checkpoint);

/// Whether a tensor of any layer's attention is quantised, so that the two kinds of radii differ.
bool has_quantized_attention(const Checkpoint& checkpoint);

/// The same in half the memory, for what changes the weights: radii are left to whoever needs them. @throws
/// likewise.
RoundedAttention read_rounded_attention(const Checkpoint& checkpoint, Index layer);

/// What the module's tensors can hold, a bias that is stored otherwise than its weight included.
/// @throws as attention_config
ModuleFormats attention_formats(const Checkpoint& checkpoint, Index layer);

/// [N8] sqrt(D) max|gain| + |bias|: no token that reaches this layer's attention is longer, since a norm
/// layer comes just before. Absent if the norm's tensors are.
/// @throws ShapeError, FormatError if they are there and broken.
std::optional<double> input_radius(const Checkpoint& checkpoint, Index layer);

/// The stored tensors of one layer's attention: query, key, value, output, each weight before its bias.
/// @throws FormatError if a weight is missing.
std::vector<StoredTensor> stored_attention_tensors(const Checkpoint& checkpoint, Index layer);

}  // namespace attnsym
