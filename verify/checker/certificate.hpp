#pragma once

#include <optional>
#include <string>

#include "verify/verdict.hpp"

namespace attnsym {

/// The independent checker: it searches nothing, and what it compares it compares by itself (circuit_claims,
/// gauge_trial, entries). It shares with the finder what a stored module is: its factors, circuits and
/// scores. Each function answers the reason why the evidence fails, or nothing if it holds. No verdict leaves
/// decide_equivalence or decide_models without it.

/// act(b_from_a, a) == b in every number.
std::optional<std::string> refute_identity(const StoredAttention& a, const StoredAttention& b,
                                           const AttentionElement<double>& b_from_a);

/// With a change of basis: every circuit of B is that of A at the head b_from_a sends it to, within rounding
/// (total, rows and columns); so is every circuit with one factor carried over by b_from_a and the other
/// taken from B; and the constants agree. With classes of heads: every head of both modules is in one class,
/// every QK circuit is that of the first in its class, the OV circuits of each class have equal sums, and the
/// constants agree. By N3 either is sufficient for equal functions. A change of basis is given to GaugeTrial
/// first; circuits are compared one by one where that says nothing.
std::optional<std::string> refute_equivalence(const StoredAttention& a, const StoredAttention& b,
                                              const EqualityEvidence& evidence);

/// The same, and where it holds the largest relative difference that such evidence could hide [N7]: infinite
/// where it is not finite.
struct CheckedEquivalence {
  std::optional<std::string> refutation;
  double resolution = 0;
};
CheckedEquivalence check_equivalence(StoredAttention a, StoredAttention b, const EqualityEvidence& evidence);

/// The same of a change of basis whose circuits GaugeTrial has accepted already: all but these.
/// @pre both modules as inputs see them, see as_seen
std::optional<std::string> refute_beside_circuits(const StoredAttention& a, const StoredAttention& b,
                                                  const AttentionElement<double>& b_from_a);

/// A checker draws rounding noise of its own, so a genuine witness may fall a little below the finder's
/// factor of 10.
constexpr double witness_factor_to_accept = 7;

/// The input has at least three tokens; the outputs on it are further apart than witness_factor_to_accept
/// times the drawn noise, which has room for float32 arithmetic [N7]; and no two modules that round to these
/// agree on it [N9].
std::optional<std::string> refute_witness(const StoredAttention& a, const StoredAttention& b,
                                          const Matrix<double>& input);

}  // namespace attnsym
