#pragma once

#include <optional>
#include <vector>

#include "symmetry/attention_symmetry.hpp"

namespace attnsym {

/// How firmly the canonical form of one key/value group stands [N6]. Where a margin is near the rounding of
/// the input, the form may jump; nothing else about the result is in doubt.
template <RealScalar S>
struct CanonicalMargins {
  Index group_in_input = 0;
  RowVector<S> qk_sigma;  ///< singular values of the stacked QK circuit, descending, zero beyond the rank
  RowVector<S> vo_sigma;
  Index qk_rank = 0;
  Index vo_rank = 0;
  S qk_sign_margin{1};  ///< see Balanced::sign_margin
  S vo_sign_margin{1};
  S order_margin{
      1};  ///< distance of the ordering invariant to the nearest other group or reader, relative to its size
};

template <RealScalar S>
struct Canonical {
  AttentionWeights<S> weights;
  /// The group element that carries the input to `weights`; absent where a circuit lacks rank, because the
  /// canonical weights then lie in the closure of the orbit, not in it [N6].
  std::optional<AttentionElement<S>> canonical_from_input;
  std::vector<CanonicalMargins<S>> margins;  ///< one per group, in the order of the result
};

/// The canonical form N6: balanced gauges of least norm, signs by a fixed probe, free biases zero, groups and
/// readers in the order of a fixed scalar invariant. Same function as the input; equal for all members of an
/// orbit and idempotent, up to rounding divided by the margins.
/// @param coincidence  singular values closer than this times the largest are treated as equal; 0 is not
/// useful, the
///                     unit roundoff of the stored weights is.
/// @throws ShapeError if the weights do not fit the config, or for rotary positions, ALiBi, softcaps and
/// sinks, which are not there yet.
template <RealScalar S>
Canonical<S> canonicalize(const AttentionWeights<S>& weights, const AttentionConfig& config,
                          S coincidence = tolerance<S>());

/// First-order root-mean-square change of the balanced factors, relative to their norm, when every entry of
/// them carries independent noise that moves the circuit by relative_noise of its Frobenius norm [N6].
/// @param rows, cols   of the circuit
/// @param coincidence  as given to canonicalize: directions inside a cluster are fixed by the probe, not by a
/// gap
double expected_change(const RowVector<double>& sigma, Index rows, Index cols, double relative_noise,
                       double coincidence);

}  // namespace attnsym
