#include "nfn/activation.hpp"

#include "symmetry/errors.hpp"

namespace attnsym {

template <Scalar S>
WeightFeatures<S> PerceptronRelu<S>::operator()(WeightFeatures<S> input) const {
  require_consistent(input);
  for (Matrix<S>* tensor : {&input.up, &input.down, &input.up_bias, &input.down_bias}) {
    *tensor = tensor->cwiseMax(S(0));
  }
  return input;
}

template <Scalar S>
Gradients<PerceptronRelu<S>> PerceptronRelu<S>::backward(const WeightFeatures<S>& input,
                                                         WeightFeatures<S> cotangent) const {
  require_consistent(input);
  require_consistent(cotangent);
  if (!(input.shape == cotangent.shape) || input.channels != cotangent.channels ||
      input.batch != cotangent.batch) {
    throw ShapeError("the cotangent of an activation must have the shape of its input");
  }
  const auto mask = [](const Matrix<S>& at, Matrix<S>& tensor) {
    tensor = (at.array() > S(0)).select(tensor, S(0));
  };
  mask(input.up, cotangent.up);
  mask(input.down, cotangent.down);
  mask(input.up_bias, cotangent.up_bias);
  mask(input.down_bias, cotangent.down_bias);
  return {std::move(cotangent), {}};
}

template class PerceptronRelu<float>;
template class PerceptronRelu<double>;
template class PerceptronRelu<Float50>;
template class PerceptronRelu<Rational>;

}  // namespace attnsym
