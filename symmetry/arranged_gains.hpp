#pragma once

#include <optional>

#include "symmetry/attention_symmetry.hpp"
#include "symmetry/balance_scores.hpp"

namespace attnsym {

/// A module with norms whose gains are in canonical form [N6]: positive, those of queries (of readers that
/// have their own in the mean square) and keys equally large in every coordinate or pair, and coordinates of
/// one frequency by descending product of their gains; in a pair the larger product first. Temperatures are
/// positive.
template <RealScalar S>
struct ArrangedGains {
  AttentionWeights<S> weights;
  /// What carries the input there; absent if a gain was negative, whose sign went to queries or keys.
  std::optional<AttentionElement<S>> from_input;
  /// The smallest distance of two neighbouring products, relative to the larger: where it is 0 the order is
  /// arbitrary. 1 where nothing is ordered.
  S margin{1};
};

/// @pre the config has norms, and the weights fit it
template <RealScalar S>
ArrangedGains<S> arrange_gains(const AttentionWeights<S>& weights, const AttentionConfig& config);

/// Queries and keys of one group of such a module in canonical signs: a fixed probe of every coordinate of
/// the keys, or of the first of every pair, is positive. The counterpart of balance_scores; sigma has for
/// every coordinate the norm of its part of the circuit, as a block of its own.
/// @param queries, keys  as for balance_scores
template <RealScalar S>
BalancedScores<S> fix_signs(const Matrix<S>& queries, const Matrix<S>& keys,
                            const std::vector<GaugeBlock>& blocks);

}  // namespace attnsym
