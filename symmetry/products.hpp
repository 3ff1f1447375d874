#pragma once

#include <vector>

#include "symmetry/errors.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {

/// The direct product: both parts move on their own.
template <GroupElement G, GroupElement H>
struct Direct {
  G first;
  H second;

  bool operator==(const Direct&) const = default;
};

template <GroupElement G, GroupElement H>
Direct<G, H> compose(const Direct<G, H>& a, const Direct<G, H>& b) {
  return {compose(a.first, b.first), compose(a.second, b.second)};
}

template <GroupElement G, GroupElement H>
Direct<G, H> inverse(const Direct<G, H>& a) {
  return {inverse(a.first), inverse(a.second)};
}

template <GroupElement G, GroupElement H>
Direct<G, H> identity_like(const Direct<G, H>& a) {
  return {identity_like(a.first), identity_like(a.second)};
}

/// The wreath product of G with the permutations of n places: entry j of a list is moved by local[j] and then
/// put at place top(j). `local` is indexed by the source [N2].
template <GroupElement G>
struct Wreath {
  std::vector<G> local;
  Permutation top;

  bool operator==(const Wreath&) const = default;
};

template <GroupElement G>
Wreath<G> compose(const Wreath<G>& a, const Wreath<G>& b) {
  Wreath<G> result{{}, compose(a.top, b.top)};
  for (Index j = 0; j < b.top.size(); ++j) result.local.push_back(compose(a.local[b.top(j)], b.local[j]));
  return result;
}

template <GroupElement G>
Wreath<G> inverse(const Wreath<G>& a) {
  Wreath<G> result{a.local, inverse(a.top)};
  for (Index j = 0; j < a.top.size(); ++j) result.local[a.top(j)] = inverse(a.local[j]);
  return result;
}

template <GroupElement G>
Wreath<G> identity_like(const Wreath<G>& a) {
  Wreath<G> result{{}, identity_like(a.top)};
  for (const G& local : a.local) result.local.push_back(identity_like(local));
  return result;
}

/// The action on a list whose entries G acts on. @throws ShapeError on different lengths.
template <GroupElement G, class X>
requires LeftActsOn<G, X> std::vector<X> act(const Wreath<G>& g, const std::vector<X>& items) {
  require_same_size("a wreath element and the list it acts on", g.local.size(), items.size());
  std::vector<X> moved;
  for (std::size_t j = 0; j < items.size(); ++j) moved.push_back(act(g.local[j], items[j]));
  return act(g.top, std::move(moved));
}

static_assert(GroupElement<Direct<Permutation, Permutation>>);
static_assert(GroupElement<Wreath<Permutation>>);
static_assert(GroupElement<Wreath<Wreath<Permutation>>>);

}  // namespace attnsym
