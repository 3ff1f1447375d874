#pragma once

#include "symmetry/balance_scores.hpp"

namespace attnsym {

/// The counterpart of balance_scores where QK gauges have to be isometries [N6]: queries and keys are turned
/// together until the columns of all of them, one below the other, are orthogonal and descend in length,
/// block
/// by block. Signs and clusters of equal lengths are fixed as by `balance`, by keys alone; sigma has the
/// squares of the lengths.
/// @param queries, keys, coincidence, noise  as for balance_scores
template <RealScalar S>
BalancedScores<S> rotate_scores(const Matrix<S>& queries, const Matrix<S>& keys,
                                const std::vector<GaugeBlock>& blocks, S coincidence, S noise);

}  // namespace attnsym
