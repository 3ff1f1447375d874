#pragma once

#include "nfn/weight_features.hpp"

namespace attnsym {

/// What the published layer knows of one hidden unit k: it moves with P_DA. One column per (checkpoint, k);
/// rows in this order: sum_p A[p,k] at c, B[k,q] at (c, q), bA[k] at c.
struct UnitLayout {
  Index width = 0;     ///< D
  Index channels = 0;  ///< d

  Index a() const { return 0; }
  Index b() const { return channels; }
  Index b_a() const { return b() + channels * width; }
  Index size() const { return b_a() + channels; }  ///< d (D + 2)
};

/// What it knows of one model coordinate j between attention and perceptron: it moves with P_D. One column
/// per (checkpoint, j); rows in this order: sum_i (V_i O_i)[p,j] at (c, p), sum_q A[j,q] at c.
struct ModelLayout {
  Index width = 0;     ///< D
  Index channels = 0;  ///< d

  Index vo() const { return 0; }
  Index a() const { return channels * width; }
  Index size() const { return a() + channels; }  ///< d (D + 1)
};

/// UnitLayout::size() x n DA.
template <Scalar S>
Matrix<S> unit_features(const WeightFeatures<S>& features);

/// ModelLayout::size() x n D.
template <Scalar S>
Matrix<S> model_features(const WeightFeatures<S>& features);

/// Add to `gradient` the derivative by the weights of <cotangent, the features above>.
template <Scalar S>
void pull_back_unit(const Matrix<S>& cotangent, WeightFeatures<S>& gradient);
template <Scalar S>
void pull_back_model(const WeightFeatures<S>& features, const Matrix<S>& cotangent,
                     WeightFeatures<S>& gradient);

}  // namespace attnsym
