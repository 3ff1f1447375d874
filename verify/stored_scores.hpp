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

/// What a head adds to its logits whatever the tokens: its ALiBi slope and the logit of its sink.
struct StoredOffsets {
  RowVector<double> value;   ///< 2; 0 where there is none
  RowVector<double> radius;  ///< 2: the largest error that rounding may have left
};

/// All that decides the attention weights of one head, beside what AttentionConfig::scores_like compares: the
/// terms of its score, and the numbers that do not depend on tokens.
struct StoredScores {
  std::vector<StoredTerm> terms;  ///< (D+1) x (D+1) each, ascending, see score_terms
  StoredOffsets offsets;
  /// Where queries and keys are normalised, squares of lengths that scores are divided by: x Q^ Q^^T x^T and
  /// that of keys, (D+1) x (D+1), see normed_queries; else none.
  std::vector<StoredCircuit> norms{};

  /// Columns of all factors together: dk.
  Index inner_width() const;
};

/// @pre all biases present or absent alike, see with_all_biases
StoredScores stored_scores(const StoredAttention& module, Index head);

StoredOffsets stored_offsets(const StoredAttention& module, Index head);

/// See StoredScores::norms.
std::vector<StoredCircuit> stored_norms(const StoredAttention& module, Index head);

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
