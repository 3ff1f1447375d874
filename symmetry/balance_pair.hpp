#pragma once

#include <vector>

#include "symmetry/gauge_blocks.hpp"

namespace attnsym {

/// A factor in parts below each other, which need not lie together in memory: matrices, and biases as rows.
template <RealScalar S>
using FactorParts = std::vector<Eigen::Ref<Matrix<S>, 0, Eigen::OuterStride<>>>;

/// Norms of the columns, without overflow or underflow of squares.
template <RealScalar S>
RowVector<S> column_norms(const FactorParts<S>& parts);

/// What is left of a balanced pair of coordinates beside its factors.
template <RealScalar S>
struct BalancedPair {
  S sigma{0};        ///< its singular value, 0 where it counts as zero
  S sign_margin{1};  ///< see Balanced
  S real{0};         ///< the gauge z -> z (real + i imaginary) of the keys, if sigma is not zero
  S imaginary{0};
  S inverse_real{0};  ///< its inverse, if sigma is not zero
  S inverse_imaginary{0};
};

/// What balancing a pair has to know of all of its columns.
template <RealScalar S>
struct PairSizes {
  S query{0};  ///< norm of both columns of the queries
  S key{0};
  S noise{0};  ///< Frobenius norm of what rounding may have added to this pair's circuit
};

/// `balance` in closed form for a complex block of a single pair of coordinates, in place: |k| = |q| as
/// complex vectors, and the product of the probe with the keys real and positive [N6].
/// @param queries, keys  of which the block's columns are replaced
/// @param probe  a complex vector as long as the keys, real parts above imaginary ones
template <RealScalar S>
BalancedPair<S> balance_pair(FactorParts<S>& queries, FactorParts<S>& keys, const GaugeBlock& block,
                             const PairSizes<S>& sizes, const Eigen::Matrix<S, Eigen::Dynamic, 1>& probe,
                             S coincidence);

}  // namespace attnsym
