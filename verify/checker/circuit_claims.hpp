#pragma once

#include <vector>

#include "verify/checker/circuit_rules.hpp"
#include "verify/stored_scores.hpp"

namespace attnsym {

/// A product that should be both stored circuits, up to the rounding of these: terms of one score, or the OV
/// circuit at frequency 0.
struct CircuitClaim {
  Harmonic harmonic{};
  StoredCircuit product;
  StoredCircuit a;
  StoredCircuit b;
};

/// A product of factors without errors.
StoredCircuit exact_product(const Matrix<double>& left, const Matrix<double>& right);

/// Whether every product is b within the rounding of a and b [N7]: every frequency in total, and row by row
/// and column by column over all of them. The checker's own comparison: differences from one QR decomposition
/// of the factors side by side, variances and limits from their definitions.
/// @param inner  columns of all factors together, see ratio_limit
/// Where errors are independent no direction may have more of all differences than these explain, either.
bool agree(const std::vector<CircuitClaim>& claims, Index inner, const CircuitRules& rules);

/// Terms of two scores side by side, or two OV circuits as the only term.
std::vector<TermPair> as_terms(const StoredCircuit& a, const StoredCircuit& b);
Index inner_width(const std::vector<TermPair>& terms);

/// Whether two scores, or two OV circuits, are one.
bool same_circuits(const std::vector<TermPair>& terms, const CircuitRules& rules);

/// What agreement of two scores or OV circuits could hide.
struct HiddenSize {
  long double difference = 0;  ///< Frobenius norm, which may be beyond double
  long double norm = 0;        ///< the larger of both circuits

  /// Relative to the norm; infinite where it is not finite.
  double relative() const;
};
HiddenSize hidden_size(const std::vector<TermPair>& terms);

}  // namespace attnsym
