#pragma once

#include "symmetry/attention_symmetry.hpp"
#include "symmetry/attention_weights.hpp"

namespace attnsym::testing {

/// Equality for the laws: exact over Rational, otherwise up to tolerance<S>() * slack of the larger norm,
/// part by part. NaN is close to nothing.

inline bool close(const Permutation& a, const Permutation& b, double /*slack*/ = 1) { return a == b; }

template <Scalar S>
bool close(const GeneralLinear<S>& a, const GeneralLinear<S>& b, double slack = 1) {
  return is_close(a.matrix(), b.matrix(), slack) && is_close(a.inverse_matrix(), b.inverse_matrix(), slack);
}

template <Scalar S>
bool close(const Affine<S>& a, const Affine<S>& b, double slack = 1) {
  // The shift is compared at the size of the linear part: it may cancel to nothing.
  const auto column = [](const Affine<S>& g) {
    Matrix<S> both(g.linear.size(), g.linear.size() + 1);
    both << g.linear.matrix(), g.shift.transpose();
    return both;
  };
  return close(a.linear, b.linear, slack) && is_close(column(a), column(b), slack);
}

// Products nest either way round.
template <class G>
bool close(const Wreath<G>& a, const Wreath<G>& b, double slack = 1);

template <class G, class H>
bool close(const Direct<G, H>& a, const Direct<G, H>& b, double slack = 1) {
  return close(a.first, b.first, slack) && close(a.second, b.second, slack);
}

template <class G>
bool close(const Wreath<G>& a, const Wreath<G>& b, double slack) {
  if (!(a.top == b.top) || a.local.size() != b.local.size()) return false;
  for (std::size_t j = 0; j < a.local.size(); ++j) {
    if (!close(a.local[j], b.local[j], slack)) return false;
  }
  return true;
}

/// All weights of a module in one row, for norms.
template <Scalar S>
RowVector<S> flat(const AttentionWeights<S>& weights) {
  std::vector<S> values;
  for_each_slot(weights, [&](const auto& slot) {
    values.insert(values.end(), slot.data(), slot.data() + slot.size());
  });
  return Eigen::Map<const RowVector<S>>(values.data(), static_cast<Index>(values.size()));
}

template <Scalar S>
bool close(const AttentionWeights<S>& a, const AttentionWeights<S>& b, double slack = 1) {
  return is_close(flat(a), flat(b), slack);
}

}  // namespace attnsym::testing
