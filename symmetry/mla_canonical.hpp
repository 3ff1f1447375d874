#pragma once

#include "symmetry/mla_symmetry.hpp"

namespace attnsym {

/// A module of latent attention in canonical form, and how firmly that stands: where a margin is near the
/// rounding of the input, the form may jump.
template <RealScalar S>
struct CanonicalMla {
  MlaWeights<S> weights;
  S latent_margin{1};  ///< smallest distance of two singular values of a latent's projection, relative to the
                       ///< largest one
  S sign_margin{1};    ///< see Balanced, of all heads and of the rotary key
  S order_margin{1};   ///< smallest relative distance of two heads' norms of V O
};

/// The canonical form of latent attention [N6]: gains one; latents on the principal axes of their
/// projections, longest first, zero axes unread, and without an epsilon of norm one; Q and K, V and O, and
/// all P with the rotary key balanced as of attention modules, heads by decreasing norm of V O, those that
/// add nothing zero. Same function as the input, which may have gains of zero; idempotent, and equal for all
/// of an orbit, up to rounding divided by the margins. Heads with one score are not merged.
/// @param unit  relative error of the numbers, as for attention modules
/// @throws ShapeError if the weights do not fit the config
template <RealScalar S>
CanonicalMla<S> canonicalize(const MlaWeights<S>& weights, const MlaConfig& config, S unit = tolerance<S>());

}  // namespace attnsym
