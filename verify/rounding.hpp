#pragma once

#include "verify/comparison.hpp"
#include "verify/stored_unit.hpp"

namespace attnsym {

/// @throws ShapeError if the outer shapes differ
CircuitComparison compare(const StoredCircuit& a, const StoredCircuit& b);

/// The terms of two scores together: squares of norms, rows and columns are added up over the terms, so that
/// one rounded number weighs the same whatever the positions. Every frequency is judged alone, too: rounding
/// of large pairs of coordinates does not explain that a small one is wrong. difference_at_most bounds the
/// difference at every distance [N8]. Offsets count as rows of their own, and norms like
/// frequencies of their own.
CircuitComparison compare(const StoredScores& a, const StoredScores& b);

/// Notes the ALiBi slopes, sinks and tables of two heads, whose differences are seen by all tokens alike.
void note_offsets(CircuitComparison& result, const StoredOffsets& a, const StoredOffsets& b);

/// Notes the lengths by which normalised scores are divided, or gates, see StoredScores: each is judged as a
/// circuit.
void note_norms(CircuitComparison& result, const std::vector<StoredCircuit>& a,
                const std::vector<StoredCircuit>& b);

/// sqrt(variance) of one circuit: the Frobenius norm of what rounding may have added.
double rounding_noise(const StoredCircuit& circuit);

}  // namespace attnsym
