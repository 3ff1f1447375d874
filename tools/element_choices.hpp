#pragma once

#include <span>

#include "symmetry/general_linear.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {

/// Hands out integers one after the other, and zeros once they are used up.
class ChoiceReader {
 public:
  explicit ChoiceReader(std::span<const int> choices) : choices_(choices) {}

  int next();

  /// How many were asked for.
  std::size_t taken() const { return taken_; }

 private:
  std::span<const int> choices_;
  std::size_t taken_ = 0;
};

/// Parts of group elements from choices. Zeros give the identity; everything is exact in single precision as
/// long as choices are small and there are few of them.

/// One transposition per place.
Permutation chosen_order(ChoiceReader& choices, Index size);

/// Integer shears, then signs and powers of two, then a permutation: with these alone nothing short of GL(n)
/// commutes.
GeneralLinear<double> chosen_linear(ChoiceReader& choices, Index size);

/// Entries k / 4.
RowVector<double> chosen_row(ChoiceReader& choices, Index size);

}  // namespace attnsym
