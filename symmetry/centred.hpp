#pragma once

#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// Weights that do the same on centred inputs [N5]: every column of Q, K, V and gates without its mean over
/// the D entries, since 1 u^T adds the sum of a token's entries, 0, times u.
template <Scalar S>
AttentionWeights<S> with_centred_weights(AttentionWeights<S> weights);

/// What remains of independent errors of entries when the mean of their column is taken away, entry by entry:
/// the root of the sum of squares.
AttentionWeights<double> with_centred_radii(AttentionWeights<double> radii);

/// Tokens near the given ones whose entries add up to exactly zero.
Matrix<double> centred_tokens(Matrix<double> tokens);

/// Whether the entries of every token add up to exactly zero.
bool is_centred(const Matrix<double>& tokens);

}  // namespace attnsym
