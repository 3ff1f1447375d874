#pragma once

#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// The reference forward pass, written from the definition N1 and slow on purpose: what every verdict is
/// about. Over Dual it also gives the derivative along one direction of the weights or tokens.
/// @param tokens  n x D, one token per row; row n is at position n
/// @returns n x D
/// @throws ShapeError if the weights do not fit the config or the tokens are not D wide
template <ForwardScalar S>
Matrix<S> attend(const AttentionConfig& config, const AttentionWeights<S>& weights, const Matrix<S>& tokens);

}  // namespace attnsym
