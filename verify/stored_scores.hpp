#pragma once

#include <vector>

#include "symmetry/score_terms.hpp"
#include "verify/stored_circuit.hpp"

namespace attnsym {

/// One term of a score, as stored.
struct StoredTerm {
  Harmonic harmonic;
  StoredCircuit circuit;
};

/// What a head adds to its logits whatever the tokens: its ALiBi slope, the logit of its sink, and its table
/// of relative positions written out for offsets -reach to reach, relative to offset 0 where shifts are free.
/// 0 where there is none, and at offsets that are not seen.
struct StoredOffsets {
  RowVector<double> value;   ///< 2 + (2 reach + 1)
  RowVector<double> radius;  ///< likewise: the largest error that rounding may have left
};

/// All that decides the attention weights of one head, beside what AttentionConfig::scores_like compares: the
/// terms of its score, and the numbers that do not depend on tokens.
struct StoredScores {
  std::vector<StoredTerm> terms;  ///< (D+1) x (D+1) each, ascending, see score_terms
  StoredOffsets offsets;
  /// Where queries and keys are normalised, squares of lengths that scores are divided by: x Q^ Q^^T x^T and
  /// that of keys, (D+1) x (D+1), see normed_queries; else none.
  std::vector<StoredCircuit> norms{};
  /// Where the output is gated, [G; bg], (D+1) x dv; else none. Not a part of the score, but what has to
  /// agree beside it before OV circuits can be added up.
  std::vector<StoredCircuit> gates{};

  /// Columns of all factors together: dk.
  Index inner_width() const;
};

/// @pre all biases present or absent alike, see with_all_biases
StoredScores stored_scores(const StoredAttention& module, Index head);

StoredOffsets stored_offsets(const StoredAttention& module, Index head);

/// The same with a table of at least this length: further offsets are like the ends.
StoredOffsets extended(const StoredOffsets& offsets, Index length);

/// The offsets of one table that are looked up, up to the given one in both directions, or to what a window
/// shows; the others are like the ends.
Index table_reach(const AttentionConfig& config);

/// See StoredScores::norms.
std::vector<StoredCircuit> stored_norms(const StoredAttention& module, Index head);

/// See StoredScores::gates.
std::vector<StoredCircuit> stored_gates(const StoredAttention& module, Index head);

/// The scores of no head.
StoredScores zero_scores(Index model_width);

/// Terms of equal harmonics side by side; what one of the two lacks is zero.
struct TermPair {
  Harmonic harmonic;
  StoredCircuit a;
  StoredCircuit b;
};
std::vector<TermPair> paired_terms(const StoredScores& a, const StoredScores& b);

}  // namespace attnsym
