#pragma once

#include <optional>
#include <vector>

#include "symmetry/attention_symmetry.hpp"
#include "symmetry/head_class.hpp"
#include "symmetry/head_precision.hpp"

namespace attnsym {

/// How firmly the canonical form of one key/value group stands [N6]. Where a margin is near the rounding of
/// the input, the form may jump; nothing else about the result is in doubt.
template <RealScalar S>
struct CanonicalMargins {
  Index group_in_input = 0;
  RowVector<S>
      qk_sigma;  ///< singular values of the stacked QK circuit, descending, zero beyond the rank; with
                 ///< positions those of its blocks one after the other, of a complex block twice
  std::vector<RowVector<S>> qk_block_sigma;  ///< per block of the QK gauge, once each
  RowVector<S> vo_sigma;  ///< likewise; of merged heads those of their sum, which may be more than dv
  Index qk_rank = 0;
  Index vo_rank = 0;
  S qk_noise{0};  ///< Frobenius norm of what rounding may have added to the stacked circuit, as told
  S vo_noise{0};
  S qk_sign_margin{1};  ///< see Balanced::sign_margin; with norms also of the order of gains
  S vo_sign_margin{1};
  /// Distance of the ordering invariant to the nearest other group or reader that is not zero, relative to
  /// its size.
  S order_margin{1};
  /// Estimated distance of a reader's QK circuit to the nearest that it could have been merged with and was
  /// not, in units of the largest that would have been merged; infinite where there is none.
  S merge_margin{1};
  /// A reader has the QK circuit of a reader of another group, and groups share keys and values: heads cannot
  /// be merged then, and another module may have their sum distributed otherwise [N6].
  bool shares_a_circuit = false;
};

template <RealScalar S>
struct Canonical {
  AttentionWeights<S> weights;
  /// The group element that carries the input to `weights`; absent where heads were merged or dropped or a
  /// circuit lacks rank, because the canonical weights then need not lie in the orbit of the input, and where
  /// tables were shifted or Q, K and V centred, which elements do not do [N6].
  std::optional<AttentionElement<S>> canonical_from_input;
  /// Heads of the input (a) and of `weights` (b) by QK circuit: why both compute the same, in every case
  /// [N3].
  HeadClasses classes;
  std::vector<CanonicalMargins<S>> margins;  ///< one per group, in the order of the result
};

/// The canonical form N6: heads merged that have the same QK circuit, their sum split again by decreasing
/// singular values, heads that add nothing zero; balanced gauges of least norm, signs by a fixed probe, free
/// biases zero, groups and readers in the order of a fixed scalar invariant, zeros last. Same function as the
/// input; idempotent, and equal for all members of an orbit, up to rounding divided by the margins. With one
/// reader per group, or one group, it is equal for all modules of this config that compute the same, unless
/// there is a softcap or a sink, or no row sees two other tokens; otherwise for those in general position
/// only [N6]. Tables of relative positions are 0 at offset 0 where softmax does not see their shifts; where
/// inputs are centred, so are the columns of Q, K and V. Where queries and keys are normalised or outputs
/// gated heads are not merged, and gains are put in order instead of gauges, see arrange_gains.
/// @param precision  what counts as equal and as zero
/// @throws ShapeError if the weights do not fit the config.
template <RealScalar S>
Canonical<S> canonicalize(const AttentionWeights<S>& weights, const AttentionConfig& config,
                          const HeadPrecision<S>& precision);

/// The same in the memory of `weights`, which are of no use afterwards. precision.same_qk may refer to them:
/// it is asked first.
template <RealScalar S>
Canonical<S> canonicalize(AttentionWeights<S>&& weights, const AttentionConfig& config,
                          const HeadPrecision<S>& precision);

/// For weights that are known up to `unit` of their size, see relative_precision. 0 is not useful.
template <RealScalar S>
Canonical<S> canonicalize(const AttentionWeights<S>& weights, const AttentionConfig& config,
                          S unit = tolerance<S>());

/// First-order root-mean-square change of the balanced factors, relative to their norm, when every entry of
/// them carries independent noise that moves the circuit by relative_noise of its Frobenius norm [N6].
/// @param rows, cols   of the circuit
/// @param coincidence  as given to canonicalize: directions inside a cluster are fixed by the probe, not by a
/// gap
double expected_change(const RowVector<double>& sigma, Index rows, Index cols, double relative_noise,
                       double coincidence);

}  // namespace attnsym
