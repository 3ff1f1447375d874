#pragma once

#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"

namespace attnsym {

/// W x + b, one column per checkpoint: what follows once weights have become invariants.
template <Scalar S>
class Dense {
 public:
  using Input = Matrix<S>;
  using Output = Matrix<S>;

  /// All parameters zero. @throws ShapeError unless both are positive.
  Dense(Index inputs, Index outputs);

  Index inputs() const { return weight_.cols(); }
  Index outputs() const { return weight_.rows(); }

  /// weight, bias: views that live as long as the layer stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError on another number of inputs.
  Matrix<S> operator()(const Matrix<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<Dense> backward(const Matrix<S>& input, const Matrix<S>& cotangent) const;

 private:
  Matrix<S> weight_;  // outputs x inputs
  Matrix<S> bias_;    // outputs x 1
};

/// max(x, 0), entry by entry.
template <Scalar S>
class Relu {
 public:
  using Input = Matrix<S>;
  using Output = Matrix<S>;

  /// None.
  std::vector<ParameterView<S>> parameters() { return {}; }

  Matrix<S> operator()(const Matrix<S>& input) const { return input.cwiseMax(S(0)); }

  /// The derivative at 0 counts as 0. @throws ShapeError if the cotangent does not fit the input.
  Gradients<Relu> backward(const Matrix<S>& input, const Matrix<S>& cotangent) const;
};

extern template class Dense<float>;
extern template class Dense<double>;
extern template class Dense<Float50>;
extern template class Relu<float>;
extern template class Relu<double>;
extern template class Relu<Float50>;

static_assert(DifferentiableLayer<Dense<double>>);
static_assert(DifferentiableLayer<Relu<double>>);

}  // namespace attnsym
