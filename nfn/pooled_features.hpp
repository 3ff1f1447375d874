#pragma once

#include "nfn/weight_features.hpp"

namespace attnsym {

/// Everything invariant under G_U that is linear in the entries, the products Q K^T and V O, and 1: what the
/// published layers pool. One column per checkpoint; rows in this order (D: model width, d: channels)
///
///     QK    d D D   sum_i (Q_i K_i^T)[p,q] at (c, p, q)
///     VO    d D     sum_i sum_q (V_i O_i)[p,q] at (c, p)
///     A     d       sum_pq A[p,q]
///     B     d D     sum_p B[p,q] at (c, q)
///     bA    d       sum_q bA[q]
///     bB    d D     bB[q] at (c, q)
///     1     1
///
/// (arXiv 2410.04209) [N13].
struct PooledLayout {
  Index width = 0;     ///< D
  Index channels = 0;  ///< d

  Index qk() const { return 0; }
  Index vo() const { return channels * width * width; }
  Index a() const { return vo() + channels * width; }
  Index b() const { return a() + channels; }
  Index b_a() const { return b() + channels * width; }
  Index b_b() const { return b_a() + channels; }
  Index one() const { return b_b() + channels * width; }
  Index size() const { return one() + 1; }  ///< d (D D + 3 D + 2) + 1
};

/// PooledLayout::size() x n.
template <Scalar S>
Matrix<S> pooled_features(const WeightFeatures<S>& features);

/// The derivative by the weights of <cotangent, pooled_features(features)>.
template <Scalar S>
WeightFeatures<S> pull_back_pooled(const WeightFeatures<S>& features, const Matrix<S>& cotangent);

}  // namespace attnsym
