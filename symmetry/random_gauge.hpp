#pragma once

#include "symmetry/gauge_blocks.hpp"
#include "symmetry/general_linear.hpp"
#include "symmetry/permutation.hpp"
#include "symmetry/random.hpp"

namespace attnsym {

/// Uniform among all permutations.
Permutation random_permutation(Random& random, Index size);

/// c^1/2 ... c^-1/2 in geometric progression, c the condition: neither side of a circuit is favoured.
template <RealScalar S>
RowVector<S> geometric_spread(Index size, double condition);

/// A random element of GL(size) with exactly this 2-norm condition number.
template <RealScalar S>
GeneralLinear<S> random_gauge(Random& random, Index size, double condition);

/// A random element of the QK gauges: one matrix per block, real or complex, of this condition number; where
/// there are several blocks, so is the condition number of the whole.
template <RealScalar S>
GeneralLinear<S> random_gauge(Random& random, Index size, const std::vector<GaugeBlock>& blocks,
                              double condition);

/// A permutation times units (+-1, and +-i in complex blocks) times powers of two, inside the blocks: exact
/// in every float format. The condition number is at most `condition`.
template <Scalar S>
GeneralLinear<S> random_monomial(Random& random, Index size, const std::vector<GaugeBlock>& blocks,
                                 double condition);

}  // namespace attnsym
