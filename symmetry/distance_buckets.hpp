#pragma once

#include <vector>

#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// AttentionConfig::distance_buckets as in T5 (Raffel et al., arXiv 1910.10683; Hugging Face
/// T5Attention._relative_position_bucket): one number for each of the nearest offsets, then buckets that grow
/// logarithmically up to max_distance. In both directions half of the buckets are for keys that come later;
/// the first of these is never used. The logarithm is taken in float32 as there: an offset that lies on the
/// edge of a bucket (16, 32 and 64 of 32 buckets and distance 128 in both directions) is where that code puts
/// it only as long as its logarithm rounds like this one.
/// @param count  of all buckets; an even number, at least 2, in both directions at least 4
/// @throws ShapeError otherwise, or if the nearest offsets alone reach max_distance
std::vector<Index> t5_buckets(Index count, Index max_distance, bool bidirectional);

/// Of every number of a table, whether any logit reads it.
std::vector<bool> read_buckets(const AttentionConfig& config);

/// Whether all numbers of a head's table may grow by the same amount, which softmax ignores: not under a
/// softcap, nor beside a sink [N5].
bool table_shift_is_free(const AttentionConfig& config);

/// How many directions of a head's table its function does not see: a shift that is free, and numbers that
/// nothing reads.
Index free_table_dimension(const AttentionConfig& config);

/// The tables as the canonical form has them: what nothing reads is zero, and so is the number of offset 0
/// where shifts are free.
template <Scalar S>
AttentionWeights<S> with_settled_tables(AttentionWeights<S> weights, const AttentionConfig& config);

/// Whether two tables of a config add the same to all logits, up to a free shift, if their numbers are known
/// up to twice `unit` of their sizes.
template <RealScalar S>
bool same_table(const AttentionConfig& config, const RowVector<S>& a, const RowVector<S>& b, const S& unit);

}  // namespace attnsym
