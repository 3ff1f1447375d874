#pragma once

#include <vector>

#include "symmetry/attention_symmetry.hpp"

/// The same group element in another scalar, exactly for numbers that both can hold: how one draw is seen at
/// several precisions. For weights there is cast.
namespace attnsym::testing {

template <Scalar To>
Permutation in_scalar(const Permutation& p) {
  return p;
}

template <Scalar To, Scalar From>
GeneralLinear<To> in_scalar(const GeneralLinear<From>& g) {
  return GeneralLinear<To>::from_matrix_and_inverse(g.matrix().template cast<To>(),
                                                    g.inverse_matrix().template cast<To>());
}

template <Scalar To, Scalar From>
Affine<To> in_scalar(const Affine<From>& g) {
  return {in_scalar<To>(g.linear), g.shift.template cast<To>()};
}

// Products nest either way round.
template <Scalar To, class G>
auto in_scalar(const Wreath<G>& g);

template <Scalar To, class G, class H>
auto in_scalar(const Direct<G, H>& g) {
  using Result = Direct<decltype(in_scalar<To>(g.first)), decltype(in_scalar<To>(g.second))>;
  return Result{in_scalar<To>(g.first), in_scalar<To>(g.second)};
}

template <Scalar To, class G>
auto in_scalar(const Wreath<G>& g) {
  Wreath<decltype(in_scalar<To>(g.local[0]))> result{{}, g.top};
  for (const G& local : g.local) result.local.push_back(in_scalar<To>(local));
  return result;
}

}  // namespace attnsym::testing
