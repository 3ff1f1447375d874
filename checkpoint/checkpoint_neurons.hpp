#pragma once

#include "checkpoint/outer_tensors.hpp"
#include "checkpoint/stored_numbers.hpp"

namespace attnsym {

/// How an MLP of a checkpoint is stored.
struct StoredMlpLayout {
  Index model_width = 0;    ///< D
  Index count = 0;          ///< m
  bool transposed = false;  ///< weights are [in, out]
  bool packed = false;      ///< gate and up are halves of one tensor
  Radii radii = Radii::Quantized;
};

/// The neurons of an MLP of a checkpoint. Weights that have the numbers of a neuron apart are brought
/// together once. Memory: 2 D m numbers as the file has them, of quantised ones 16 bytes each. Reading throws
/// FormatError with file, tensor and position if an entry is not finite.
/// @pre the tensors have the shapes that the layout says
std::unique_ptr<NeuronReader> checkpoint_neurons(const MlpTensors& tensors, const StoredMlpLayout& layout);

}  // namespace attnsym
