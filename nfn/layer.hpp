#pragma once

#include <concepts>

#include "symmetry/scalar.hpp"

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

}  // namespace attnsym
