#pragma once

#include <span>

#include "checkpoint/checkpoint.hpp"
#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// What numbers of a format lose because they are too small for it: the root of the sum of squares that
/// subnormal steps may take, relative to that of all. 0 for F64, whose range nothing leaves that is read.
double lost_share(std::span<const double> numbers, const Rounding& rounding);

/// Refuses to rewrite stored numbers whose fourth powers would leave the range of double: sizes above 1e60,
/// or none of at least 1e-60. F64 alone can hold them. @throws FormatError naming file, tensor and entry
void require_ordinary_sizes(const StoredTensor& tensor);

/// The same of the attention of a layer, head by head. @throws FormatError naming file, tensor and head
void require_ordinary_sizes(const Checkpoint& checkpoint, Index layer);

/// Refuses new numbers of a whole tensor that lose more than twice the format's unit roundoff, and more than
/// the tensor that they replace. @param dtype  they are to be stored in
/// @throws FormatError naming file, tensor and the largest entry that is lost
void require_range(const StoredTensor& tensor, std::span<const double> numbers, Dtype dtype);

/// The same of the attention of a layer, head by head.
/// @throws FormatError naming file, tensor and head
void require_range(const Checkpoint& checkpoint, Index layer, const AttentionWeights<double>& weights,
                   std::optional<Dtype> store_as);

}  // namespace attnsym
