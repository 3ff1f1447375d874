#pragma once

#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"

namespace attnsym {

/// LayerNorm over the channels of invariants, one column per checkpoint: (x - mean) / sqrt(variance + 1e-5),
/// times gain plus bias. The variance divides by the number of channels.
template <RealScalar S>
class ChannelNorm {
 public:
  using Input = Matrix<S>;
  using Output = Matrix<S>;

  /// Gain one, bias zero. @throws ShapeError unless there are channels.
  explicit ChannelNorm(Index channels);

  /// gain, bias: views that live as long as the layer stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError on another number of channels.
  Matrix<S> operator()(const Matrix<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<ChannelNorm> backward(const Matrix<S>& input, const Matrix<S>& cotangent) const;

 private:
  Matrix<S> gain_;  // channels x 1
  Matrix<S> bias_;  // channels x 1
};

extern template class ChannelNorm<float>;
extern template class ChannelNorm<double>;
extern template class ChannelNorm<Float50>;

static_assert(DifferentiableLayer<ChannelNorm<double>>);

}  // namespace attnsym
