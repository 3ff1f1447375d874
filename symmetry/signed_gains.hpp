#pragma once

#include <optional>

#include "symmetry/gauge_blocks.hpp"
#include "symmetry/general_linear.hpp"
#include "symmetry/random.hpp"

namespace attnsym {

/// Where normalised queries and keys have gains, a QK gauge A has to leave their norms alone:
/// A = diag(stretch) U with U a signed permutation, which moves queries and keys, while the stretch is taken
/// up by the gains [N5].
template <Scalar S>
struct SignedGains {
  GeneralLinear<S> turn;  ///< U
  RowVector<S> stretch;   ///< positive
};

/// Nothing unless every row and column of A has exactly one number.
template <Scalar S>
std::optional<SignedGains<S>> signed_gains(const GeneralLinear<S>& gauge);

/// Whether two gauges differ in signs only, so that they ask the same of gains that heads share.
template <Scalar S>
bool share_gains(const GeneralLinear<S>& a, const GeneralLinear<S>& b);

/// Random gauges of this kind for `groups` groups, with the same stretch and different signs; powers of two
/// if `exact`. The condition number is `condition`, or at most that if `exact`, and 1 for a single
/// coordinate.
template <Scalar S>
std::vector<GeneralLinear<S>> random_signed_gains(Random& random, Index groups, Index size,
                                                  const std::vector<GaugeBlock>& blocks, double condition,
                                                  bool exact);

}  // namespace attnsym
