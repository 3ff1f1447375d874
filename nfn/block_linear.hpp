#pragma once

#include <vector>

#include "nfn/attention_linear.hpp"
#include "nfn/table_linear.hpp"

namespace attnsym {

/// What EquivariantLinear is for plain blocks, for every kind of block: all maps from d to e channels that
/// commute with the block's group and are linear in the entries, Q K^T, V O and 1 [N13]. Residual blocks have
/// no P_D and therefore many more; an affine norm brings its gain and bias. For plain blocks these are the
/// maps of EquivariantLinear, with other names for the parameters.
///
/// Q, K, V and O go through AttentionLinear, the rest through TableLinear, in the rows of BlockTables.
/// Exactly equivariant over every scalar.
template <Scalar S>
class BlockLinear {
 public:
  using Input = WeightFeatures<S>;
  using Output = WeightFeatures<S>;

  /// All parameters zero. Of the shape, only the model width and the kind count: blocks may have other
  /// heads and other inner widths. @throws ShapeError unless the shape is valid and there are channels.
  BlockLinear(const BlockShape& shape, Index in_channels, Index out_channels);

  /// d e (2 D^3 + 12 D^2 + 15 D + 12) + e (2 D + 2)     plain
  /// d e (2 D^3 + 14 D^2 + 27 D + 32) + e (2 D + 4)     affine
  /// d e (6 D^3 + 19 D^2 + 10 D + 2) + e (3 D + 1)      residual
  /// d e (10 D^3 + 35 D^2 + 14 D + 2) + e (5 D + 1)     residual and affine
  static Index parameter_count(const BlockShape& shape, Index in_channels, Index out_channels);

  /// PhiQ, PhiK, PhiV, O1 and O2 or PhiO; Pooled, Model, Unit, Pair: views that live as long as the layer
  /// stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the input has D, the kind and d as stated.
  WeightFeatures<S> operator()(const WeightFeatures<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<BlockLinear> backward(const WeightFeatures<S>& input, const WeightFeatures<S>& cotangent) const;

 private:
  BlockShape shape_;
  Index in_channels_;
  Index out_channels_;
  AttentionLinear<S> attention_;
  TableLinear<S> tables_;
};

/// What InvariantLayer is for plain blocks, for every kind of block: all invariants that are linear in the
/// entries, Q K^T, V O and 1. From d channels of weights to e numbers per checkpoint, e x n.
template <Scalar S>
class BlockPooling {
 public:
  using Input = WeightFeatures<S>;
  using Output = Matrix<S>;

  /// As BlockLinear. @throws ShapeError likewise.
  BlockPooling(const BlockShape& shape, Index in_channels, Index outputs);

  /// d e (D^2 + 3 D + 2) + e, affine d e (D^2 + 3 D + 4) + e, residual d e (2 D^2 + 3 D + 1) + e, residual
  /// and affine d e (2 D^2 + 5 D + 1) + e.
  static Index parameter_count(const BlockShape& shape, Index in_channels, Index outputs);

  /// Pooled: a view that lives as long as the layer stays where it is.
  std::vector<ParameterView<S>> parameters() { return tables_.parameters(); }

  /// @throws ShapeError unless the input has D, the kind and d as stated.
  Matrix<S> operator()(const WeightFeatures<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<BlockPooling> backward(const WeightFeatures<S>& input, const Matrix<S>& cotangent) const;

 private:
  BlockShape shape_;
  Index in_channels_;
  TableLinear<S> tables_;
};

extern template class BlockLinear<float>;
extern template class BlockLinear<double>;
extern template class BlockLinear<Float50>;
extern template class BlockLinear<Rational>;
extern template class BlockPooling<float>;
extern template class BlockPooling<double>;
extern template class BlockPooling<Float50>;
extern template class BlockPooling<Rational>;

static_assert(DifferentiableLayer<BlockLinear<double>>);
static_assert(DifferentiableLayer<BlockPooling<double>>);

}  // namespace attnsym
