#pragma once

#include "nfn/block_shape.hpp"

namespace attnsym {

/// The weights of one transformer block, for many checkpoints at once and with channels: what the layers of
/// this folder map to one another. The weights themselves have one channel [N13].
///
///     Attn(X) = LN( relu( LN(MHA(X)) A + bA ) B + bB ),   no residual connection
///
/// and, where the shape says so, with X + MHA(X) for MHA(X), or a gain and a bias in the inner norm.
///
/// Every tensor is one matrix, so that layers are matrix products. Rows are (channel, model coordinate), the
/// latter fast; columns are (checkpoint, head, inner coordinate), the last fast. Tensors without one of these
/// leave it out. The columns of a checkpoint are contiguous.
template <Scalar S>
struct WeightFeatures {
  BlockShape shape;
  Index channels = 0;  ///< d
  Index batch = 0;     ///< n, checkpoints

  Matrix<S> query;        ///< Q,  d D x n h Dk
  Matrix<S> key;          ///< K,  d D x n h Dk
  Matrix<S> value;        ///< V,  d D x n h Dv
  Matrix<S> output;       ///< O,  d D x n h Dv: transposed, its rows are the model coordinates that it writes
  Matrix<S> up;           ///< A,  d D x n DA
  Matrix<S> down;         ///< B,  d D x n DA: transposed likewise
  Matrix<S> up_bias;      ///< bA, d x n DA
  Matrix<S> down_bias;    ///< bB, d D x n
  Matrix<S> norm_gain{};  ///< gamma of the inner norm, d D x n; empty unless the shape has an affine norm
  Matrix<S> norm_bias{};  ///< beta, likewise

  /// Entries are whatever is in memory. @throws ShapeError unless the shape is valid and there is a channel.
  static WeightFeatures uninitialized(const BlockShape& shape, Index channels, Index batch);

  /// @throws as uninitialized.
  static WeightFeatures zero(const BlockShape& shape, Index channels, Index batch);

  /// Exact; different shapes are different.
  bool operator==(const WeightFeatures& other) const;
};

/// Calls visit(name, tensor) on every tensor in the order above. The names are those of the paper: Q, K, V,
/// O, A, B, bA, bB; gamma and beta follow where the norm has them.
template <class Features, class Visit>
void for_each_tensor(Features& features, Visit visit) {
  visit("Q", features.query);
  visit("K", features.key);
  visit("V", features.value);
  visit("O", features.output);
  visit("A", features.up);
  visit("B", features.down);
  visit("bA", features.up_bias);
  visit("bB", features.down_bias);
  if (features.shape.affine_norm) {
    visit("gamma", features.norm_gain);
    visit("beta", features.norm_bias);
  }
}

/// Calls visit(tensor of a, tensor of b) on every tensor in that order.
template <class A, class B, class Visit>
void for_each_tensor_pair(A& a, B& b, Visit visit) {
  visit(a.query, b.query);
  visit(a.key, b.key);
  visit(a.value, b.value);
  visit(a.output, b.output);
  visit(a.up, b.up);
  visit(a.down, b.down);
  visit(a.up_bias, b.up_bias);
  visit(a.down_bias, b.down_bias);
  visit(a.norm_gain, b.norm_gain);
  visit(a.norm_bias, b.norm_bias);
}

/// @throws ShapeError naming the first tensor whose matrix does not have the shape stated above, with both.
template <Scalar S>
void require_consistent(const WeightFeatures<S>& features);

/// The same, for layers that know no gain and bias of the inner norm: @throws ShapeError also if there are
/// these, and unless the model is that wide and there are that many channels.
template <Scalar S>
void require_consistent(const WeightFeatures<S>& features, Index model_width, Index channels);

/// `count` checkpoints from `first` on. @throws ShapeError if there are not as many.
template <Scalar S>
WeightFeatures<S> checkpoints(const WeightFeatures<S>& features, Index first, Index count);

/// Overwrites the checkpoints from `first` on with those of `part`. @throws ShapeError if it does not fit.
template <Scalar S>
void set_checkpoints(WeightFeatures<S>& features, Index first, const WeightFeatures<S>& part);

/// Adds entry by entry. Both have the same shape, channels and batch.
template <Scalar S>
void add(WeightFeatures<S>& sum, const WeightFeatures<S>& term) {
  for_each_tensor_pair(sum, term, [](Matrix<S>& into, const Matrix<S>& from) { into += from; });
}

/// The same numbers in another scalar; exact from float and double into Rational.
template <Scalar To, Scalar From>
WeightFeatures<To> cast(const WeightFeatures<From>& features);

}  // namespace attnsym
