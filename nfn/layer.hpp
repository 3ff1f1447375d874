#pragma once

#include <concepts>
#include <utility>

#include "nfn/parameters.hpp"

namespace attnsym {

/// What reverse-mode differentiation of one layer returns: the derivatives of <cotangent, layer(input)>.
template <class Layer>
struct Gradients {
  typename Layer::Input input;  ///< by the input, in its shape
  Layer parameters;             ///< by the parameters, held like them
};

/// A layer is a value: its parameters. layer(input) applies it to a batch. backward(input, cotangent)
/// differentiates by hand; the cotangent has the shape of the output.
template <class L>
concept DifferentiableLayer = std::copyable<L> &&
    requires(const L& layer, const typename L::Input& input, const typename L::Output& cotangent) {
  { layer(input) } -> std::same_as<typename L::Output>;
  { layer.backward(input, cotangent) } -> std::same_as<Gradients<L>>;
};

/// The layer with all parameters zero: where sums of derivatives begin.
template <class Layer>
Layer zero_like(Layer layer) {
  for (auto* matrix : parameter_matrices(layer.parameters())) matrix->setZero();
  return layer;
}

/// As layer.backward, but adds the derivatives by the parameters to `sum` and returns that by the input. A
/// layer with many parameters has a member for this that needs no second set of them.
template <class Layer, class Cotangent>
typename Layer::Input accumulate(const Layer& layer, const typename Layer::Input& input,
                                 Cotangent&& cotangent, Layer& sum) {
  if constexpr (requires { layer.accumulate(input, cotangent, sum); }) {
    return layer.accumulate(input, cotangent, sum);
  } else {
    auto gradients = layer.backward(input, std::forward<Cotangent>(cotangent));
    const auto totals = parameter_matrices(sum.parameters());
    const auto terms = parameter_matrices(gradients.parameters.parameters());
    for (std::size_t i = 0; i < totals.size(); ++i) *totals[i] += *terms[i];
    return std::move(gradients.input);
  }
}

}  // namespace attnsym
