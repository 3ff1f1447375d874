#pragma once

#include <cstdint>

#include "verify/verdict.hpp"

namespace attnsym {

/// What is known of the stored numbers themselves, nothing rounded.
struct ExactDecision {
  Verdict verdict = Undecided{};
  HeadClasses classes;  ///< the reduced forms beside each other
  double error_probability =
      0;  ///< that "equal" is wrong, over the choice of primes and probes; 0 for all other verdicts
};

/// Decides whether the numbers of two modules compute the same function, exactly [N9]: the circuits are
/// compared modulo two random 61-bit primes at random probes. `identical`: by permutations, signs and powers
/// of two. `equivalent`: the reduced forms are equal, with the error probability given. `distinct`: an input
/// shows it, in enclosures at 50 digits. `undecided`: the reduced forms differ, and no input was found; for
/// most kinds of attention the functions differ then [N3], but not for all.
/// @param seed  of primes, probes and inputs. Primes and probes depend on all numbers, too: they are the same
///   for the same modules, and nobody can make modules to suit them
/// @throws as decide_equivalence
ExactDecision decide_exactly(const StoredAttention& a, const StoredAttention& b, std::uint64_t seed);

/// The checker's part: the reason why these classes do not make the stored numbers of two modules exactly
/// equal, or nothing. With primes of its own. Nothing is searched.
std::optional<std::string> refute_exact_equality(const StoredAttention& a, const StoredAttention& b,
                                                 const HeadClasses& classes, std::uint64_t seed);

/// A proved lower bound of the gap of the stored numbers on an input, from enclosures in double, or where
/// those overlap from enclosures at 50 digits of the output that differs most; 0 where these overlap, too
/// [N9].
double exact_gap_at_least(const StoredAttention& a, const StoredAttention& b, const Matrix<double>& input);

}  // namespace attnsym
