#pragma once

#include <functional>
#include <string>
#include <vector>

#include "symmetry/run_tasks.hpp"
#include "symmetry/transformer_group.hpp"
#include "verify/checker/neurons.hpp"
#include "verify/checker/shared_parts.hpp"
#include "verify/models/seen_model.hpp"
#include "verify/models/stream_transport.hpp"

namespace attnsym {

/// What is outside of blocks.
struct OuterComparison {
  std::string part;  ///< "embeddings", "positions", "token types", "norm of embeddings", "unembedding", ...
  EntryComparison entries;
  bool reads_stream = false;  ///< behind the blocks
};

/// The pieces of two models side by side, those of A moved by a transport of the stream, with the norms and
/// small tables that they share. Judges all of them but attention, by limits that go with what was multiplied
/// [N7]. Refers to all that it is made from.
class ModelPieces {
 public:
  ModelPieces(const StoredModel& a, const StoredModel& b, const StreamTransport& stream, Outputs outputs);

  /// Tables, norms outside of blocks, the head, and tasks, in reading order. A task of `run` is one of them.
  std::vector<OuterComparison> compare_outside(const RunTasks& run = run_in_turn) const;

  /// Norms of a block that both have, gains behind its branches, and biases that stay there.
  EntryComparison compare_norms(Index layer) const;

  StoredAttention attention_of_a(Index layer) const { return stream_.moved(a_.attention(layer)); }
  StoredAttention attention_of_b(Index layer) const { return b_.attention(layer); }
  SeenMlp mlp_of_a(Index layer) const;
  SeenMlp mlp_of_b(Index layer) const;
  MlpRules mlp_rules(Index layer) const;

  /// Rows, columns and matrices that are judged for the answer, about.
  static double lines(const TransformerConfig& config);

 private:
  using Reader = SeenModel::Reader;

  Index width() const { return a_.config().model_width; }
  bool rotated() const { return stream_.kind() == StreamTransport::Kind::Orthogonal; }
  Index rows_at_once() const;
  bool shares_norm_before(Reader reader, Index layer) const;
  EntryRules rules(bool as_stored) const;
  EntryRules bias_rules(bool as_stored) const;
  EntryComparison compare_norms(const StoredNorm& a, const StoredNorm& b) const;
  using Outside = std::vector<OuterComparison>;
  std::vector<std::function<Outside()>> outside() const;
  Outside compare_embeddings() const;
  Outside compare_table(Table table, const char* name) const;
  Outside compare_norms_outside() const;
  Outside compare_transform() const;
  Outside compare_unembedding() const;
  Outside compare_output_bias() const;
  Outside compare_task(std::size_t index) const;
  template <class Rows>
  EntryComparison compare_rows(Index count, EntryRules rules, bool in_stream, Rows rows_of) const;
  StoredMatrix mean_row(const SeenModel& model) const;
  bool outputs_may_shift() const;  // what all outputs of a token have in common does not count then
  bool has_head_as_stored() const;

  const StreamTransport& stream_;
  Outputs outputs_;
  double surprise_;
  SharedParts shared_;
  SeenModel a_;
  SeenModel b_;
};

}  // namespace attnsym
