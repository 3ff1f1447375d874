#pragma once

#include "nfn/weight_features.hpp"
#include "symmetry/general_linear.hpp"
#include "symmetry/permutation.hpp"
#include "symmetry/products.hpp"
#include "symmetry/random.hpp"

namespace attnsym {

/// first: the QK gauge of one head, in GL(Dk).  second: its VO gauge, in GL(Dv).
template <Scalar S>
using HeadGauges = Direct<GeneralLinear<S>, GeneralLinear<S>>;

/// first: P_D, which reorders the model coordinates between attention and perceptron.  second: P_DA, which
/// reorders the hidden units.
using BlockOrders = Direct<Permutation, Permutation>;

/// An element of G_U = S_h x GL(Dk)^h x GL(Dv)^h x P_D x P_DA, the group of a block whose attention and
/// perceptron are not bridged by a residual connection (arXiv 2410.04209) [N13]. Across one, P_D is trivial:
/// the model coordinates of X + MHA(X) are those of X.
template <Scalar S>
using BlockElement = Direct<Wreath<HeadGauges<S>>, BlockOrders>;

template <Scalar S>
const Wreath<HeadGauges<S>>& head_moves(const BlockElement<S>& g) {
  return g.first;
}
template <Scalar S>
const Permutation& model_order(const BlockElement<S>& g) {
  return g.second.first;
}
template <Scalar S>
const Permutation& hidden_order(const BlockElement<S>& g) {
  return g.second.second;
}

/// The left action on all channels and checkpoints alike. With (M, N) the gauges of a head and p, r the two
/// orders: K -> K M^T, Q -> Q M^-1, V -> V N^T, O -> N^-T O, heads permuted [N2]; column j of O and row j of
/// A, and entry j of the gain and the bias of the inner norm, go to p(j); column k of A, entry k of bA and
/// row k of B go to r(k).
/// @throws ShapeError if a size differs, or if p is not the identity though the block is residual.
template <Scalar S>
WeightFeatures<S> act(const BlockElement<S>& g, const WeightFeatures<S>& features);

/// The identity for blocks of this shape.
template <Scalar S>
BlockElement<S> identity_element(const BlockShape& shape);

/// What a random element may move.
struct BlockSampleOptions {
  double condition = 10;  ///< 2-norm condition number of every gauge, >= 1; not for Rational
  bool heads = true;      ///< permute the heads
  bool qk = true;         ///< draw QK gauges
  bool vo = true;         ///< draw VO gauges
  bool model = true;      ///< draw P_D, unless the block is residual
  bool hidden = true;     ///< draw P_DA
};

/// A random element. Gauges are rotations times scales of exactly the asked condition number for real
/// scalars, and products of integer shears, swaps, signs and a power of two, with their exact inverses, for
/// Rational.
/// @throws ShapeError if options.condition < 1.
template <Scalar S>
BlockElement<S> sample_element(const BlockShape& shape, Random& random,
                               const BlockSampleOptions& options = {});

static_assert(GroupElement<BlockElement<double>>);
static_assert(GroupElement<BlockElement<Rational>>);
static_assert(LeftActsOn<BlockElement<double>, WeightFeatures<double>>);
static_assert(LeftActsOn<BlockElement<Rational>, WeightFeatures<Rational>>);

}  // namespace attnsym
