#pragma once

#include "symmetry/scalar.hpp"

namespace attnsym {

/// What one transformer block is made of, apart from its numbers: attention, then a perceptron with one
/// hidden layer [N13]. The widths, and what decides its group and its tensors besides them.
struct BlockShape {
  Index model_width = 0;   ///< D
  Index heads = 0;         ///< h
  Index key_width = 0;     ///< Dk, of queries and keys
  Index value_width = 0;   ///< Dv, of values
  Index hidden_width = 0;  ///< DA, hidden units of the perceptron
  bool residual = false;   ///< a residual connection bridges attention, so that model coordinates have names
  bool affine_norm = false;  ///< the norm between attention and perceptron has a gain and a bias

  /// @throws ShapeError unless all are positive.
  void validate() const;

  bool operator==(const BlockShape&) const = default;
};

}  // namespace attnsym
