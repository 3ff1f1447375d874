#pragma once

#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// A factor of a circuit as stored: values, and the largest errors that rounding may have left in them [N7].
/// Same shapes.
struct StoredFactor {
  Matrix<double> value;
  Matrix<double> radius;
};

/// The queries of a head and the keys of a group with their biases as last row, (D+1) x dk. Where they are
/// normalised, times their gains and divided by norm_unit: the score of normalised queries and keys is that
/// of these, divided by their norms [N5].
/// @pre all biases are there, see with_all_biases
StoredFactor stored_queries(const StoredAttention& module, Index head);
StoredFactor stored_keys(const StoredAttention& module, Index group);

/// Sets biases of keys to zero where softmax ignores them.
void clear_free_biases(StoredFactor& keys, const AttentionConfig& config);

/// Weights without norms whose queries and keys are those above: the scores of the module but for the
/// division by norms.
AttentionWeights<double> with_gains(const StoredAttention& module);

/// Takes the gains of norms away.
void clear_gains(AttentionWeights<double>& weights);

/// The values of a group with their bias as last row, (D+1) x dv, and the transposed outputs of a head, D x
/// dv.
StoredFactor stored_values(const StoredAttention& module, Index group);
StoredFactor stored_outputs(const StoredAttention& module, Index head);

/// What the norms of a head's queries or a group's keys are the lengths of: weights without gains, divided by
/// norm_unit, so that the root of the mean square plus epsilon is a multiple of (|x W|^2 + 1)^(1/2), or of |x
/// W| without an epsilon. A norm over all heads is the length of all of them together.
/// @pre the module has norms
StoredFactor normed_queries(const StoredAttention& module, Index head);
StoredFactor normed_keys(const StoredAttention& module, Index group);

}  // namespace attnsym
