#pragma once

#include "symmetry/mla_weights.hpp"
#include "verify/attend.hpp"

namespace attnsym {

/// The reference forward pass of latent attention: both latents and the rotary key of every token as one
/// longer token, which attention as in N1 reads.
/// @param tokens  n x D, one token per row; row n is at position n
/// @returns n x D
/// @throws ShapeError if the weights do not fit the config or the tokens are not D wide
template <ForwardScalar S>
Matrix<S> attend(const MlaConfig& config, const MlaWeights<S>& weights, const Matrix<S>& tokens);

}  // namespace attnsym
