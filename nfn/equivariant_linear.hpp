#pragma once

#include <vector>

#include "nfn/attention_linear.hpp"
#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"
#include "nfn/weight_features.hpp"

namespace attnsym {

/// The equivariant layer E of arXiv 2410.04209, from d to e channels: all maps that commute with G_U and are
/// linear in the entries, the products Q K^T and V O, and 1 [N13]. It is exactly equivariant over every
/// scalar, and independent of h, Dk, Dv and DA.
///
/// B1 and c1 have D^3 numbers per pair of channels, too many for wide models. low_rank() holds them as
///
///     B1[e,c,k,p,q] = sum_t B1u[e,k,t] W[t,c,p,q],  c1 likewise with the same W,  t below the rank,
///
/// which commutes just as well, and is complete from rank min(2 e D, d D^2) on.
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

  /// The same with B1 and c1 of this rank. @throws ShapeError unless all four are positive.
  static EquivariantLinear low_rank(Index model_width, Index in_channels, Index out_channels, Index rank);

  /// d e (2 D^3 + 12 D^2 + 15 D + 12) + e (2 D + 2).
  static Index parameter_count(Index model_width, Index in_channels, Index out_channels);

  /// With B1 and c1 of rank r: 2 d e D^3 less, r (2 e D + d D^2) more.
  static Index parameter_count(Index model_width, Index in_channels, Index out_channels, Index rank);

  Index model_width() const { return width_; }
  Index in_channels() const { return in_channels_; }
  Index out_channels() const { return out_channels_; }

  /// PhiQ, PhiK, PhiV, O1, O2, A1 ... A13, a1 ... a10, B1 ... B10, c1 ... c7: views that live as long as the
  /// layer stays where it is. Of low rank, B1u, c1u and W stand for B1 and c1.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the input has D and d as stated.
  WeightFeatures<S> operator()(const WeightFeatures<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<EquivariantLinear> backward(const WeightFeatures<S>& input,
                                        const WeightFeatures<S>& cotangent) const;

  /// As backward, but adds the derivatives by the parameters to `sum`, in place.
  /// @return the derivative by the input. @throws likewise, and if `sum` is not a layer of this shape.
  WeightFeatures<S> accumulate(const WeightFeatures<S>& input, const WeightFeatures<S>& cotangent,
                               EquivariantLinear& sum) const;

 private:
  void set_perceptron(const WeightFeatures<S>& input, WeightFeatures<S>& result) const;
  void pull_back_perceptron(const WeightFeatures<S>& input, const WeightFeatures<S>& cotangent,
                            Gradients<EquivariantLinear>& gradients) const;

  Matrix<S> compressed(const Matrix<S>& pooled) const;
  Matrix<S> pull_back_outputs(const Matrix<S>& pooled, const Matrix<S>& unit, const Matrix<S>& fixed,
                              EquivariantLinear& by) const;
  Index qk_features() const { return in_channels_ * width_ * width_; }
  Index model_rows() const { return out_channels_ * width_; }

  Index width_;
  Index in_channels_;
  Index out_channels_;
  AttentionLinear<S> attention_;  // PhiQ, PhiK, PhiV, O1, O2
  Matrix<S> up_entry_;            // A7, e x d
  // Several parameters side by side: the outputs of the rows, in their order, then rows x columns.
  Matrix<S> pooled_;  // A and bA, 2 e x PooledLayout::size()
  Matrix<S> fixed_;   // B and bB, 2 e D x as many; of low rank, r columns stand for those of Q K^T
  Matrix<S> unit_;    // A, bA and B, (2 e + e D) x UnitLayout::size()
  Matrix<S> model_;   // A, e x ModelLayout::size()
  Matrix<S> probes_;  // W, r x d D^2; empty in full
};

extern template class EquivariantLinear<float>;
extern template class EquivariantLinear<double>;
extern template class EquivariantLinear<Float50>;
extern template class EquivariantLinear<Rational>;

static_assert(DifferentiableLayer<EquivariantLinear<double>>);

}  // namespace attnsym
