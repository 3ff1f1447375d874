#pragma once

#include "symmetry/scalar.hpp"

namespace attnsym {

/// The widths of one transformer block: attention, then a perceptron with one hidden layer [N13].
struct BlockShape {
  Index model_width = 0;   ///< D
  Index heads = 0;         ///< h
  Index key_width = 0;     ///< Dk, of queries and keys
  Index value_width = 0;   ///< Dv, of values
  Index hidden_width = 0;  ///< DA, hidden units of the perceptron

  /// @throws ShapeError unless all are positive.
  void validate() const;

  bool operator==(const BlockShape&) const = default;
};

}  // namespace attnsym
