#pragma once

#include "symmetry/scalar.hpp"

namespace attnsym {

/// What training makes small, for outputs z and labels y:
enum class Loss {
  binary_cross_entropy,  ///< -y log s(z) - (1 - y) log(1 - s(z)) with s(z) = 1 / (1 + exp(-z)), y in [0, 1]
  squared_error,         ///< (z - y)^2
};

/// The sum of the losses of some checkpoints, and its derivative by their outputs.
template <RealScalar S>
struct LossSum {
  double value = 0;
  Matrix<S> cotangent;  ///< 1 x n
};

/// @param outputs 1 x n. @param labels 1 x n. @throws ShapeError if they are not.
template <RealScalar S>
LossSum<S> sum_of_losses(Loss loss, const Matrix<S>& outputs, const Matrix<S>& labels);

/// What the outputs say about labels: s(z), or z itself.
template <RealScalar S>
Matrix<S> predictions(Loss loss, const Matrix<S>& outputs);

}  // namespace attnsym
