#pragma once

#include <vector>

#include "nfn/parameters.hpp"
#include "nfn/weight_features.hpp"

namespace attnsym {

/// What equivariant layers do to Q, K, V and O, from d to e channels: all linear maps of them that commute
/// with gauges, heads and model order [N13],
///
///     Q' = PhiQ Q, K' = PhiK K, V' = PhiV V    (D x D matrices for every pair of channels)
///     O'[.,k] = O1 sum_q O[.,q] + O2 O[.,k]    where P_D reorders the model coordinates that O writes
///     O' = O PhiO^T                            where it does not
///
/// A part of layers, which check shapes.
template <Scalar S>
class AttentionLinear {
 public:
  /// All parameters zero. `reordered`: whether there is a P_D.
  AttentionLinear(Index model_width, Index in_channels, Index out_channels, bool reordered);

  /// PhiQ, PhiK, PhiV, then O1 and O2 or PhiO: views that live as long as this stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// Sets Q, K, V and O of the result.
  void apply(const WeightFeatures<S>& input, WeightFeatures<S>& result) const;

  /// Sets these of `by_input`, and adds the derivative by the parameters to `by`.
  void pull_back(const WeightFeatures<S>& input, const WeightFeatures<S>& cotangent,
                 WeightFeatures<S>& by_input, AttentionLinear& by) const;

 private:
  bool reordered() const { return output_.size() == 0; }

  Index width_;
  Index in_channels_;
  Index out_channels_;
  Matrix<S> query_;         // PhiQ, e D x d D
  Matrix<S> key_;           // PhiK
  Matrix<S> value_;         // PhiV
  Matrix<S> output_;        // PhiO; empty if reordered
  Matrix<S> output_sum_;    // O1, e x d; else empty
  Matrix<S> output_entry_;  // O2
};

extern template class AttentionLinear<float>;
extern template class AttentionLinear<double>;
extern template class AttentionLinear<Float50>;
extern template class AttentionLinear<Rational>;

}  // namespace attnsym
