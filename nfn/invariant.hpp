#pragma once

#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"
#include "nfn/weight_features.hpp"

namespace attnsym {

/// The invariant layer I of arXiv 2410.04209: one linear map of the pooled features, from d channels of
/// weights to e numbers per checkpoint [N13]. The result is e x n.
template <Scalar S>
class InvariantLayer {
 public:
  using Input = WeightFeatures<S>;
  using Output = Matrix<S>;

  /// All parameters zero. @throws ShapeError unless all three are positive.
  InvariantLayer(Index model_width, Index in_channels, Index outputs);

  /// d e (D^2 + 3 D + 2) + e.
  static Index parameter_count(Index model_width, Index in_channels, Index outputs);

  Index model_width() const { return width_; }
  Index in_channels() const { return in_channels_; }
  Index outputs() const { return pooled_.rows(); }

  /// F1 ... F7: views that live as long as the layer stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the input has D and d as stated.
  Matrix<S> operator()(const WeightFeatures<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<InvariantLayer> backward(const WeightFeatures<S>& input, const Matrix<S>& cotangent) const;

  /// As backward, but adds the derivatives by the parameters to `sum`, in place.
  /// @return the derivative by the input. @throws likewise, and if `sum` is not a layer of this shape.
  WeightFeatures<S> accumulate(const WeightFeatures<S>& input, const Matrix<S>& cotangent,
                               InvariantLayer& sum) const;

 private:
  Index width_;
  Index in_channels_;
  Matrix<S> pooled_;  // e x PooledLayout::size()
};

extern template class InvariantLayer<float>;
extern template class InvariantLayer<double>;
extern template class InvariantLayer<Float50>;
extern template class InvariantLayer<Rational>;

static_assert(DifferentiableLayer<InvariantLayer<double>>);

}  // namespace attnsym
