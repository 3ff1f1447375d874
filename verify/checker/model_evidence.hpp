#pragma once

#include <optional>
#include <string>
#include <vector>

#include "symmetry/run_tasks.hpp"
#include "symmetry/stored_model.hpp"
#include "symmetry/transformer_group.hpp"
#include "verify/models/stream_transport.hpp"
#include "verify/models/token_witness.hpp"
#include "verify/verdict.hpp"

namespace attnsym {

/// Why two models are one, up to rounding: the change of basis of the stream, and for every block what
/// carries attention and the neurons over.
struct ModelEvidence {
  Matrix<double> stream;                    ///< Q, D x D
  std::vector<EqualityEvidence> attention;  ///< of A moved by Q
  std::vector<std::vector<Index>> neurons;  ///< of every neuron of A that of B, -1 for those that do nothing
};

/// The transport that a matrix is, of the simplest kind; nothing unless it is orthogonal.
std::optional<StreamTransport> stream_of(const Matrix<double>& q);

/// The reason why the stream of these models cannot change its basis like this [N12]: Q is not orthogonal,
/// gains that act on the stream ask for a signed permutation, or a LayerNorm for one that keeps the mean of a
/// token; or nothing.
std::optional<std::string> refute_stream(const StoredModel& a, const StreamTransport& stream);

/// Checks evidence and searches nothing: refute_stream, and with A moved by Q every piece is that of B -
/// attention by refute_equivalence, neurons as they are matched, tables entry by entry. Shares with the
/// finder what the pieces of a model are (SeenModel), but no search and no comparison.
/// @returns the reason why the evidence fails, or nothing if it holds
std::optional<std::string> refute_models(const StoredModel& a, const StoredModel& b,
                                         const ModelEvidence& evidence, Outputs outputs,
                                         const RunTasks& run_tasks);

/// How far apart outputs are on some tokens, and what rounding explains, as the checker measures it: with
/// noise of its own.
TokenWitness checked_tokens(const StoredModel& a, const StoredModel& b, const Tokens& tokens, Outputs outputs,
                            const RunTasks& run_tasks = run_in_turn);

/// Tokens tell the models apart: outputs are further apart than 7 times what rounding, drawn anew, explains.
std::optional<std::string> refute_token_witness(const StoredModel& a, const StoredModel& b,
                                                const Tokens& tokens, Outputs outputs,
                                                const RunTasks& run_tasks = run_in_turn);

}  // namespace attnsym
