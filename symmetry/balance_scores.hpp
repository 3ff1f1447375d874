#pragma once

#include <vector>

#include "symmetry/balance.hpp"
#include "symmetry/gauge_blocks.hpp"

namespace attnsym {

/// Queries and keys of one key/value group, balanced block by block.
template <RealScalar S>
struct BalancedScores {
  Balanced<S> all;                  ///< of the whole key width; the gauge commutes with positions
  std::vector<RowVector<S>> sigma;  ///< per block its singular values; those of a complex block once
};

/// N6 steps 1 and 2 for queries and keys whose gauges have to commute with positions [N5]. A real block is
/// balanced as by `balance`; a complex one likewise among complex matrices, which for a single pair of
/// coordinates means |k| = |q| and the phase of a fixed probe of the keys real and positive.
/// @param queries  stacked queries with their biases, r (D+1) x dk
/// @param keys     D x dk, or (D+1) x dk with those biases that count
/// @param coincidence, noise, probed_rows  as for balance; noise is that of the whole circuit
template <RealScalar S>
BalancedScores<S> balance_scores(const Matrix<S>& queries, const Matrix<S>& keys,
                                 const std::vector<GaugeBlock>& blocks, S coincidence, S noise,
                                 std::optional<Index> probed_rows = {});

}  // namespace attnsym
