#pragma once

#include <vector>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// Heads of two modules that share one QK circuit. Only the sum of their OV circuits counts [N3].
struct HeadClass {
  std::vector<Index> a;
  std::vector<Index> b;

  bool operator==(const HeadClass&) const = default;
};

/// The reduced form of two modules beside each other: every head of both is in one class.
using HeadClasses = std::vector<HeadClass>;

}  // namespace attnsym
