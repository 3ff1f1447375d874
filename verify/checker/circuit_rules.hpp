#pragma once

#include "symmetry/stored_attention.hpp"
#include "verify/rounding_law.hpp"

namespace attnsym {

/// How circuits are judged [N7].
struct CircuitRules {
  double lines = 1;  ///< rows and columns that are judged for the answer, about
  bool independent =
      true;  ///< errors of different numbers are: then an aligned difference is none of rounding
};

inline CircuitRules circuit_rules(const StoredAttention& a, const StoredAttention& b) {
  return {judged_lines(a.config), a.independent && b.independent};
}

}  // namespace attnsym
