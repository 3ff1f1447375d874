#include "nfn/scalar_gate.hpp"

#include <array>

#include "nfn/pooled_features.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"

namespace attnsym {
namespace {

constexpr std::array<const char*, 4> names{"SQ", "SK", "SV", "SO"};

template <class Features>
auto gated_tensors(Features& features) {
  return std::array{&features.query, &features.key, &features.value, &features.output};
}

// One channel of one checkpoint, as a view.
template <class Tensor>
auto module_of(Tensor& tensor, Index width, Index batch, Index channel, Index checkpoint) {
  const Index columns = tensor.cols() / batch;
  return tensor.block(channel * width, checkpoint * columns, width, columns);
}

// Calls visit(t, c, n) for every tensor, channel and checkpoint.
template <class Visit>
void for_each_gate(Index channels, Index batch, Visit visit) {
  for (Index t = 0; t < 4; ++t) {
    for (Index n = 0; n < batch; ++n) {
      for (Index c = 0; c < channels; ++c) visit(t, c, n);
    }
  }
}

}  // namespace

template <Scalar S>
ScalarGate<S>::ScalarGate(Index model_width, Index channels) : width_(model_width), channels_(channels) {
  if (std::min(model_width, channels) < 1)
    throw ShapeError("a gate needs a positive model width and channels");
  gates_ = Matrix<S>::Zero(4 * channels, PooledLayout{width_, channels}.size());
}

template <Scalar S>
std::vector<ParameterView<S>> ScalarGate<S>::parameters() {
  ParameterTable<S> table(width_, channels_, channels_);
  for (Index t = 0; t < 4; ++t) {
    std::vector<std::string> numbered;
    for (int i = 1; i <= 7; ++i) numbered.push_back(names[t] + std::to_string(i));
    table.add(gates_, t * channels_, false, {{2}, {1}, {0}, {1}, {0}, {1}, {0, false}}, numbered);
  }
  return table.views();
}

template <Scalar S>
WeightFeatures<S> ScalarGate<S>::operator()(WeightFeatures<S> input) const {
  require_consistent(input, width_, channels_);
  const Matrix<S> gates = multiply(gates_, pooled_features(input));
  const auto tensors = gated_tensors(input);
  for_each_gate(channels_, input.batch, [&](Index t, Index c, Index n) {
    module_of(*tensors[t], width_, input.batch, c, n) *= gates(t * channels_ + c, n);
  });
  return input;
}

template <Scalar S>
Gradients<ScalarGate<S>> ScalarGate<S>::backward(const WeightFeatures<S>& input,
                                                 WeightFeatures<S> cotangent) const {
  require_consistent(input, width_, channels_);
  require_consistent(cotangent, width_, channels_);
  if (!(input.shape == cotangent.shape) || input.batch != cotangent.batch) {
    throw ShapeError("the cotangent of a gate must have the shape of its input");
  }
  const Matrix<S> pooled = pooled_features(input);
  const Matrix<S> gates = multiply(gates_, pooled);
  Matrix<S> by_gates(gates.rows(), gates.cols());
  const auto tensors = gated_tensors(input);
  const auto by_tensors = gated_tensors(cotangent);
  for_each_gate(channels_, input.batch, [&](Index t, Index c, Index n) {
    auto by = module_of(*by_tensors[t], width_, input.batch, c, n);
    by_gates(t * channels_ + c, n) = by.cwiseProduct(module_of(*tensors[t], width_, input.batch, c, n)).sum();
    by *= gates(t * channels_ + c, n);
  });
  Gradients<ScalarGate> gradients{pull_back_pooled(input, multiply_tn(gates_, by_gates)),
                                  ScalarGate(width_, channels_)};
  add(gradients.input, cotangent);
  gradients.parameters.gates_ = multiply_nt(by_gates, pooled);
  return gradients;
}

template class ScalarGate<float>;
template class ScalarGate<double>;
template class ScalarGate<Float50>;
template class ScalarGate<Rational>;

}  // namespace attnsym
