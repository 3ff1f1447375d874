#pragma once

#include <rapidcheck.h>

#include "verify/testing/closeness.hpp"

/// The contracts of symmetry/group.hpp as checks, for this project's groups and for a user's own: call them
/// inside rc::check with drawn elements. A user's group needs a `close` found by argument-dependent lookup,
/// or ==.
namespace attnsym::testing {

template <class T>
bool law_equal(const T& a, const T& b, double slack) {
  if constexpr (requires { close(a, b, slack); }) {
    return close(a, b, slack);
  } else {
    return a == b;
  }
}

template <GroupElement G>
void group_laws(const G& a, const G& b, const G& c, double slack = 1) {
  const bool equal = a == b;  // by value, and no finer than the laws
  const bool copies_equal = G(a) == a;
  const bool turned_round = b == a;
  RC_ASSERT(copies_equal);
  RC_ASSERT(equal == turned_round);
  RC_ASSERT(law_equal(a, b, slack) || !equal);
  RC_ASSERT(law_equal(compose(compose(a, b), c), compose(a, compose(b, c)), slack));
  RC_ASSERT(law_equal(compose(a, identity_like(a)), a, slack));
  RC_ASSERT(law_equal(compose(identity_like(a), a), a, slack));
  RC_ASSERT(law_equal(compose(a, inverse(a)), identity_like(a), slack));
  RC_ASSERT(law_equal(compose(inverse(a), a), identity_like(a), slack));
}

/// That a group of some shape knows its members: with g and h their product, inverses and identity.
template <class Group, GroupElement G>
void membership_laws(const Group& group, const G& g, const G& h) {
  RC_ASSERT(group.contains(g));
  RC_ASSERT(group.contains(h));
  RC_ASSERT(group.contains(compose(g, h)));
  RC_ASSERT(group.contains(inverse(g)));
  RC_ASSERT(group.contains(identity_like(g)));
}

template <class G, class X>
requires LeftActsOn<G, X>
void action_laws(const G& g, const G& h, const X& x, double slack = 1) {
  RC_ASSERT(law_equal(act(compose(g, h), x), act(g, act(h, x)), slack));
  RC_ASSERT(law_equal(act(identity_like(g), x), x, slack));
}

}  // namespace attnsym::testing
