#pragma once

#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// A circuit left * right^T, kept as its factors: D x D products are never formed [N4].
template <Scalar S>
struct Circuit {
  Matrix<S> left;   ///< rows x n
  Matrix<S> right;  ///< cols x n
};

/// [W; b]: weights of homogeneous tokens (x, 1); an absent bias is a zero row. (D+1) x n.
template <Scalar S>
Matrix<S> homogeneous(const Matrix<S>& weight, const RowVector<S>& bias);

/// M_i = s Q^_i K_j(i)^T, (D+1) x D: all that the function sees of queries and keys without rotary positions,
/// softcap and sinks [N1]; score_terms has the general case.
template <Scalar S>
Circuit<S> qk_circuit(const AttentionConfig& config, const AttentionWeights<S>& weights, Index head);

/// N_i = V_j(i) O_i, D x D [N1]; beside sinks and gates V^_j(i) O_i, (D+1) x D, because value biases do not
/// add a constant then.
template <Scalar S>
Circuit<S> vo_circuit(const AttentionConfig& config, const AttentionWeights<S>& weights, Index head);

/// c = bo + sum_i bv_j(i) O_i, D: what the module adds to every output [N1]; beside sinks and gates bo alone.
template <Scalar S>
RowVector<S> constant_output(const AttentionConfig& config, const AttentionWeights<S>& weights);

/// Frobenius norm of a circuit, from QR of its right factor.
template <RealScalar S>
S norm(const Circuit<S>& circuit);

/// How far two circuits of the same outer shape are apart.
template <RealScalar S>
struct DifferenceNorms {
  S norm_a;              ///< Frobenius norm of a
  S norm_b;              ///< Frobenius norm of b
  S total;               ///< Frobenius norm of a - b
  RowVector<S> rows;     ///< norm of every row of a - b
  RowVector<S> columns;  ///< norm of every column of a - b
};

/// Errors at most c eps (|a.left||a.right| + |b.left||b.right|): no digits are lost when the circuits nearly
/// agree, as they would be with Gram matrices [N4]. The inner widths may differ.
/// @throws ShapeError if the outer shapes differ.
template <RealScalar S>
DifferenceNorms<S> difference_norms(const Circuit<S>& a, const Circuit<S>& b);

}  // namespace attnsym
