#pragma once

#include "symmetry/errors.hpp"
#include "symmetry/general_linear.hpp"

namespace attnsym {

/// A gauge: what a basis change and a bias translation do to the side of a head that is written (keys,
/// values). It acts on rows by x -> x L^T + shift. The side that reads (queries, outputs) is carried along by
/// L^-1, which is what keeps the circuits fixed [N2].
template <Scalar S>
struct Affine {
  GeneralLinear<S> linear;  ///< L, n x n
  RowVector<S> shift;       ///< n

  static Affine identity(Index size) { return {GeneralLinear<S>::identity(size), RowVector<S>::Zero(size)}; }

  bool operator==(const Affine& other) const {
    return linear == other.linear && shift.size() == other.shift.size() && shift == other.shift;
  }
};

/// [N2] (L2, t2)(L1, t1) = (L2 L1, t1 L2^T + t2).
template <Scalar S>
Affine<S> compose(const Affine<S>& g, const Affine<S>& h) {
  return {compose(g.linear, h.linear), h.shift * g.linear.matrix().transpose() + g.shift};
}

template <Scalar S>
Affine<S> inverse(const Affine<S>& g) {
  return {inverse(g.linear), -g.shift * g.linear.inverse_matrix().transpose()};
}

template <Scalar S>
Affine<S> identity_like(const Affine<S>& g) {
  return Affine<S>::identity(g.linear.size());
}

static_assert(GroupElement<Affine<double>>);
static_assert(GroupElement<Affine<Rational>>);

}  // namespace attnsym
