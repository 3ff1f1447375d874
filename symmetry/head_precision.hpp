#pragma once

#include <functional>
#include <vector>

#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// How precisely the circuits of a module are known: what decides in a canonical form whether two of them, or
/// a singular value and zero, are different [N7].
template <RealScalar S>
struct HeadPrecision {
  S unit{0};   ///< of the stored numbers; singular values closer than this times the largest count as equal
  S slack{1};  ///< how many times the noise arithmetic may have left, on top of rounding
  std::vector<S> qk_noise;  ///< per head: Frobenius norm of what rounding may have added to Q^_i K^T
  std::vector<S> vo_noise;  ///< likewise to V O_i, or to [V; bv] O_i if there is no output bias
  /// Whether two heads have the same QK circuit. Asked only where cheap probes leave it open.
  std::function<bool(Index, Index)> same_qk;
};

/// For weights whose entries are known up to `unit` of their size. QK circuits are the same if they are
/// within twice their noise. Refers to weights and config, which have to outlive it.
template <RealScalar S>
HeadPrecision<S> relative_precision(const AttentionWeights<S>& weights, const AttentionConfig& config,
                                    S unit);

}  // namespace attnsym
