#pragma once

#include "nfn/block_invariant.hpp"
#include "nfn/dense.hpp"
#include "nfn/equivariant_linear.hpp"
#include "symmetry/random.hpp"

namespace attnsym {

/// The initialisation of arXiv 2410.04209: normal, with one deviation per group of terms that meet in an
/// output,
///
///     (2 / sum over the group of (fan-in + fan-out))^(s/2),
///
/// s = 2 for terms in Q K^T and V O and for pooled ones, else 1. The fan-in of a term is the number of
/// entries that one of its outputs sums over, d channels, heads and all; its fan-out is the number of the
/// rest. Sums over a block of this shape then neither explode nor vanish.
/// @throws ShapeError if the layer is not for that model width, or is one of low rank.
template <RealScalar S>
void initialize(EquivariantLinear<S>& layer, const BlockShape& shape, Random& random);
template <RealScalar S>
void initialize(InvariantLayer<S>& layer, const BlockShape& shape, Random& random);

/// The paper has no layer that sees heads one by one; that one is drawn so that inputs near 1 give results
/// near 1: H1 ... H4 with the deviation 1 / sqrt(inputs of a head), G1 and G2 with 1 / sqrt(m h + 1).
/// @throws ShapeError if the layer is not for that model width.
template <RealScalar S>
void initialize(HeadInvariantLayer<S>& layer, const BlockShape& shape, Random& random);
template <RealScalar S>
void initialize(BlockInvariant<S>& layer, const BlockShape& shape, Random& random);

/// Uniform on [-1, 1] / sqrt(inputs), weight and bias.
template <RealScalar S>
void initialize(Dense<S>& layer, Random& random);

}  // namespace attnsym
