#pragma once

#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"
#include "nfn/weight_features.hpp"

namespace attnsym {

/// The equivariant layer E of arXiv 2410.04209, from d to e channels: all maps that commute with G_U and are
/// linear in the entries, the products Q K^T and V O, and 1 [N13]. It is exactly equivariant over every
/// scalar, and independent of h, Dk, Dv and DA.
///
/// Parameters that see the same features lie side by side in one matrix, so that forward and backward are a
/// few matrix products. parameters() has them under the names of the paper.
template <Scalar S>
class EquivariantLinear {
 public:
  using Input = WeightFeatures<S>;
  using Output = WeightFeatures<S>;

  /// All parameters zero. @throws ShapeError unless all three are positive.
  EquivariantLinear(Index model_width, Index in_channels, Index out_channels);

  /// d e (2 D^3 + 12 D^2 + 15 D + 12) + e (2 D + 2).
  static Index parameter_count(Index model_width, Index in_channels, Index out_channels);

  Index model_width() const { return width_; }
  Index in_channels() const { return in_channels_; }
  Index out_channels() const { return out_channels_; }

  /// PhiQ, PhiK, PhiV, O1, O2, A1 ... A13, a1 ... a10, B1 ... B10, c1 ... c7: views that live as long as the
  /// layer stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the input has D and d as stated.
  WeightFeatures<S> operator()(const WeightFeatures<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<EquivariantLinear> backward(const WeightFeatures<S>& input,
                                        const WeightFeatures<S>& cotangent) const;

 private:
  void add_attention(const WeightFeatures<S>& input, WeightFeatures<S>& result) const;
  void add_perceptron(const WeightFeatures<S>& input, WeightFeatures<S>& result) const;
  void pull_back_attention(const WeightFeatures<S>& input, const WeightFeatures<S>& cotangent,
                           Gradients<EquivariantLinear>& gradients) const;
  void pull_back_perceptron(const WeightFeatures<S>& input, const WeightFeatures<S>& cotangent,
                            Gradients<EquivariantLinear>& gradients) const;

  // Rows of pooled_ (e channels): A e, bA e, B e D, bB e D; of unit_ the first three; of model_ A.
  Index out_of_b() const { return 2 * out_channels_; }
  Index out_of_b_b() const { return out_of_b() + out_channels_ * width_; }

  Index width_;
  Index in_channels_;
  Index out_channels_;
  Matrix<S> query_;         // PhiQ, e D x d D
  Matrix<S> key_;           // PhiK
  Matrix<S> value_;         // PhiV
  Matrix<S> output_sum_;    // O1, e x d
  Matrix<S> output_entry_;  // O2, e x d
  Matrix<S> up_entry_;      // A7, e x d
  Matrix<S> pooled_;        // (2 e + 2 e D) x PooledLayout::size()
  Matrix<S> unit_;          // (2 e + e D) x UnitLayout::size()
  Matrix<S> model_;         // e x ModelLayout::size()
};

extern template class EquivariantLinear<float>;
extern template class EquivariantLinear<double>;
extern template class EquivariantLinear<Float50>;
extern template class EquivariantLinear<Rational>;

static_assert(DifferentiableLayer<EquivariantLinear<double>>);

}  // namespace attnsym
