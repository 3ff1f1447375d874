#pragma once

#include <concepts>

namespace attnsym {

/// What every group in this project offers, as free functions found by argument-dependent lookup:
/// compose(g, h) acts by h first and g last, inverse(g), identity_like(g) of the same shape, and ==.
/// Only shapes that match compose; anything else throws ShapeError.
template <class G>
concept GroupElement = std::copyable<G> && std::equality_comparable<G> && requires(const G& g, const G& h) {
  { compose(g, h) } -> std::same_as<G>;
  { inverse(g) } -> std::same_as<G>;
  { identity_like(g) } -> std::same_as<G>;
};

/// A left action: act(compose(g, h), x) == act(g, act(h, x)) and act(identity, x) == x.
template <class G, class X>
concept LeftActsOn = GroupElement<G> && requires(const G& g, const X& x) {
  { act(g, x) } -> std::same_as<X>;
};

}  // namespace attnsym
