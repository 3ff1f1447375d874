#pragma once

#include <optional>
#include <string>

#include "symmetry/attention_symmetry.hpp"
#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// The independent checker: it searches nothing and shares no code with the finder - circuits are multiplied
/// out entry by entry, N7 is evaluated entry by entry. Each function answers the reason why the evidence
/// fails, or nothing if it holds.

/// act(b_from_a, a) == b in every number.
std::optional<std::string> refute_identity(const StoredAttention& a, const StoredAttention& b,
                                           const AttentionElement<double>& b_from_a);

/// Every circuit of B is that of A at the head b_from_a sends it to, within rounding (total, rows and
/// columns); so is every circuit with one factor carried over by b_from_a and the other taken from B; and the
/// constants agree. By N3 that is sufficient for equal functions.
std::optional<std::string> refute_equivalence(const StoredAttention& a, const StoredAttention& b,
                                              const AttentionElement<double>& b_from_a);

/// The largest resolution over all circuits of the two modules, matched by b_from_a [N7]: what such evidence
/// could hide.
double evidence_resolution(const StoredAttention& a, const StoredAttention& b,
                           const AttentionElement<double>& b_from_a);

/// A checker draws rounding noise of its own, so a genuine witness may fall a little below the finder's
/// factor of 10.
constexpr double witness_factor_to_accept = 7;

/// The input has at least three tokens, and the outputs on it are further apart than witness_factor_to_accept
/// times what rounding and the arithmetic allowance of the stored weights explain there [N7].
std::optional<std::string> refute_witness(const StoredAttention& a, const StoredAttention& b,
                                          const Matrix<double>& input);

}  // namespace attnsym
