#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "symmetry/run_tasks.hpp"
#include "verify/checker/model_evidence.hpp"
#include "verify/checker/model_pieces.hpp"
#include "verify/decide.hpp"
#include "verify/models/token_witness.hpp"

namespace attnsym {

/// What of two models is known to be stored alike, number by number and finite: that is not read. Nothing
/// where a function is empty.
struct StoredAlike {
  std::function<bool(Index layer)> block;  ///< all of a block
  std::function<bool()> outside;           ///< all outside of blocks
};

struct ModelDecideOptions {
  Outputs outputs = Outputs::Logits;
  double witness_factor = 10;            ///< tokens count when their gap is this many times its noise
  std::uint64_t seed = 1;                ///< of the token search
  RunTasks run_parts = run_in_turn;      ///< how tables and MLPs are compared
  RunTasks run_modules = run_in_turn;    ///< then attention of the blocks, which takes most memory
  RunTasks run_in_module = run_in_turn;  ///< how independent parts of one module are
  StoredAlike alike{};
  bool compare_unlike = false;  ///< also the pieces of models that a few tokens tell apart at once
};

/// One block of A, moved by the stream's transport, against the same of B.
struct BlockDecision {
  Decision attention;
  MlpComparison mlp;
  EntryComparison norms;  ///< of gains that both have or that act behind the branches

  bool agrees() const;
  bool is_exact() const;
  double rounding_ratio() const;   ///< the largest, over all its parts
  std::string difference() const;  ///< in words, what differs; empty if nothing does
};

enum class ModelVerdict { Identical, Equivalent, Distinct, Undecided };
const char* name_of(ModelVerdict verdict);

/// A verdict on two whole models and the figures behind it.
struct ModelDecision {
  ModelVerdict verdict = ModelVerdict::Undecided;
  std::string reason;
  StreamTransport stream = StreamTransport::identity(1);
  bool stream_found = false;                          ///< else A was compared as it is
  std::optional<std::string> different_architecture;  ///< in words; then no pieces were compared
  std::vector<BlockDecision> blocks;
  std::vector<OuterComparison> outer;
  std::optional<std::string> first_difference;  ///< in words, where the two part: the first piece in reading
                                                ///< order that rounding does not explain
  std::optional<TokenWitness>
      witness;  ///< of distinct models; else the best that was found, if one was sought
};

/// Why two models are one. @pre the verdict is Identical or Equivalent
ModelEvidence evidence_of(const ModelDecision& decision);

/// Whether most rows of tables of one architecture have other lengths, which no change of basis gives them:
/// few rows are read.
bool have_unlike_tables(const StoredModel& a, const StoredModel& b);

/// The part of decide_models that compares pieces: what these do not settle stays `undecided`, and no tokens
/// are searched.
ModelDecision compare_models(const StoredModel& a, const StoredModel& b,
                             const ModelDecideOptions& options = {});

/// Decides whether two models compute the same outputs for all tokens [N12].
///
/// `identical` and `equivalent` rest on an orthogonal change of basis of the stream under which every piece
/// of A is the piece of B: attention as decide_equivalence says, neurons of MLPs one to one, tables entry by
/// entry, where gains and biases of norms and means that LayerNorms take away may be kept anywhere.
/// Models of other architectures, or whose tables have rows of other lengths, are first tried on one
/// sequence: where that tells them apart, their pieces are not compared. `distinct` rests on tokens whose
/// outputs are further apart than rounding explains. That models are not in one orbit proves nothing alone:
/// what neither covers is `undecided`.
/// @throws ShapeError if the models have different tokens or outputs
ModelDecision decide_models(const StoredModel& a, const StoredModel& b,
                            const ModelDecideOptions& options = {});

}  // namespace attnsym
