#include "nfn/dense.hpp"

#include <algorithm>

#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {

template <Scalar S>
Dense<S>::Dense(Index inputs, Index outputs) {
  if (std::min(inputs, outputs) < 1) throw ShapeError("a dense layer needs inputs and outputs");
  weight_ = Matrix<S>::Zero(outputs, inputs);
  bias_ = Matrix<S>::Zero(outputs, 1);
}

template <Scalar S>
std::vector<ParameterView<S>> Dense<S>::parameters() {
  ParameterTable<S> table(1, inputs(), outputs());
  table.add(weight_, 0, false, {{0}}, {"weight"});
  table.add(bias_, 0, false, {{0, false}}, {"bias"});
  return table.views();
}

template <Scalar S>
Matrix<S> Dense<S>::operator()(const Matrix<S>& input) const {
  require_same_size("a dense layer and its input", inputs(), input.rows());
  return multiply(weight_, input).colwise() + bias_.col(0);
}

template <Scalar S>
Gradients<Dense<S>> Dense<S>::backward(const Matrix<S>& input, const Matrix<S>& cotangent) const {
  require_same_size("a dense layer and its input", inputs(), input.rows());
  require_same_size("a dense layer and its cotangent", outputs(), cotangent.rows());
  require_same_size("the checkpoints of input and cotangent", input.cols(), cotangent.cols());
  Gradients<Dense> gradients{multiply_tn(weight_, cotangent), Dense(inputs(), outputs())};
  gradients.parameters.weight_ = multiply_nt(cotangent, input);
  gradients.parameters.bias_ = cotangent.rowwise().sum();
  return gradients;
}

template <Scalar S>
Gradients<Relu<S>> Relu<S>::backward(const Matrix<S>& input, const Matrix<S>& cotangent) const {
  require_same_size("the rows of input and cotangent", input.rows(), cotangent.rows());
  require_same_size("the checkpoints of input and cotangent", input.cols(), cotangent.cols());
  return {(input.array() > S(0)).select(cotangent, S(0)), {}};
}

template class Dense<float>;
template class Dense<double>;
template class Dense<Float50>;
template class Relu<float>;
template class Relu<double>;
template class Relu<Float50>;

}  // namespace attnsym
