#pragma once

#include "symmetry/affine.hpp"
#include "symmetry/attention_weights.hpp"
#include "symmetry/permutation.hpp"
#include "symmetry/products.hpp"

namespace attnsym {

/// first: the QK gauge (A, t) of size dk.  second: the VO gauge (C, t') of size dv.
template <Scalar S>
using Gauges = Direct<Affine<S>, Affine<S>>;

/// What moves one key/value group in place. first: its readers' order.  second: its gauges.
template <Scalar S>
using GroupMove = Direct<Permutation, Gauges<S>>;

/// An element of the symmetry group of multi-head attention, S_r wr S_g with a pair of gauges per group [N2].
template <Scalar S>
using AttentionElement = Wreath<GroupMove<S>>;

template <Scalar S>
const Permutation& reader_order(const GroupMove<S>& move) {
  return move.first;
}
template <Scalar S>
const Affine<S>& qk_gauge(const GroupMove<S>& move) {
  return move.second.first;
}
template <Scalar S>
const Affine<S>& vo_gauge(const GroupMove<S>& move) {
  return move.second.second;
}

/// [N2] K -> K A^T, bk -> bk A^T + t, Q^ -> Q^ A^-1;  V -> V C^T, bv -> bv C^T + t', O -> C^-T O;  readers
/// permuted. Gains of the group's own take up the sizes of A; beside temperatures A has to be orthogonal
/// [N5]. Beside gates C has to be a signed and scaled permutation, which moves the columns of gates, too.
/// @throws ShapeError if a width differs, if a shift is not zero where the bias it belongs to is absent, or
/// if norms do not allow A or gates C.
template <Scalar S>
KvGroup<S> act(const GroupMove<S>& move, const KvGroup<S>& group);

/// The action on a module: every group is moved, and the output bias takes up what the value shifts add,
/// bo -> bo - sum_i t' O_i [N2]. Where queries and keys are normalised a QK gauge acts on what their gains
/// make of them: signs and places move queries and keys, sizes the gains [N5].
/// @throws ShapeError as above, if a value shift is not zero in a module without output bias, and where norms
/// do not allow the QK gauges.
template <Scalar S>
AttentionWeights<S> act(const AttentionElement<S>& element, const AttentionWeights<S>& weights);

/// p with p(i) = the head that head i becomes; head i is reader i mod r of group i / r.
template <Scalar S>
Permutation head_image(const AttentionElement<S>& element);

/// The identity for modules of this config.
template <Scalar S>
AttentionElement<S> identity_element(const AttentionConfig& config);

static_assert(GroupElement<AttentionElement<double>>);
static_assert(LeftActsOn<GroupMove<double>, KvGroup<double>>);
static_assert(LeftActsOn<AttentionElement<double>, AttentionWeights<double>>);
static_assert(LeftActsOn<AttentionElement<Rational>, AttentionWeights<Rational>>);

}  // namespace attnsym
