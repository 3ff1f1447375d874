#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "symmetry/run_tasks.hpp"
#include "symmetry/stored_model.hpp"
#include "symmetry/transformer_group.hpp"
#include "verify/transformer_forward.hpp"

namespace attnsym {

/// Tokens and how far apart the outputs of two models are on them, in the largest number.
struct TokenWitness {
  Tokens tokens;
  Index position = 0;  ///< where the outputs differ most: the token
  Index output = 0;    ///< and the logit
  double output_a = 0;
  double output_b = 0;
  double gap = 0;    ///< |output_a - output_b|
  double noise = 0;  ///< the largest change of an output when all stored numbers were moved within their
                     ///< rounding at random, added over both models

  /// gap / noise; 0 for a gap that is not finite.
  double strength() const;
};

/// @throws ShapeError unless both models take the same inputs and have the same outputs, of a head where
/// probabilities are meant
void require_same_outputs(const StoredModel& a, const StoredModel& b, Outputs outputs);

struct TokenSearch {
  std::uint64_t seed = 1;
  int draws = 2;              ///< of rounding, per model
  Index sequences = 4;        ///< random ones
  Index length = 8;           ///< tokens of each, or as many as there are positions
  std::vector<Index> tokens;  ///< that have to occur
  Index position = 0;         ///< that a sequence has to reach
  Outputs outputs = Outputs::Logits;
  RunTasks run_tasks = run_in_turn;  ///< both models
};

/// The same for given tokens: nothing is searched. @throws ShapeError also for tokens that a model has not
TokenWitness measure_tokens(const StoredModel& a, const StoredModel& b, const Tokens& tokens, Outputs outputs,
                            std::uint64_t seed, const RunTasks& run_tasks = run_in_turn);

/// The sequences that search_tokens would try.
std::vector<Tokens> token_sequences(const StoredModel& a, const StoredModel& b, const TokenSearch& search);

/// Runs both models, block by block, on the same sequences of tokens, and returns the sequence on which they
/// are furthest apart in units of rounding.
/// @throws ShapeError unless both have the same outputs
TokenWitness search_tokens(const StoredModel& a, const StoredModel& b, const TokenSearch& search);

}  // namespace attnsym
