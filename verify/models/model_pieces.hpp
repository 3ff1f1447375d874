#pragma once

#include <string>
#include <vector>

#include "symmetry/transformer_group.hpp"
#include "verify/models/neurons.hpp"
#include "verify/models/seen_model.hpp"
#include "verify/models/stream_transport.hpp"

namespace attnsym {

/// What is outside of blocks.
struct OuterComparison {
  std::string part;  ///< "embeddings", "positions", "token types", "norm of embeddings", "unembedding", ...
  EntryComparison entries;
  bool reads_stream = false;  ///< behind the blocks
};

/// The pieces of two models side by side, those of A moved by a transport of the stream. Refers to all that
/// it is made from.
class ModelPieces {
 public:
  ModelPieces(const SeenModel& a, const SeenModel& b, const StreamTransport& stream, Outputs outputs)
      : a_(a), b_(b), stream_(stream), outputs_(outputs) {}

  /// Tables, the norm of embeddings, the head, and tasks.
  std::vector<OuterComparison> compare_outside() const;

  /// Gains behind the branches of a block, and biases that stay there.
  EntryComparison compare_norms_behind(Index layer) const;

  StoredAttention attention_of_a(Index layer) const { return stream_.moved(a_.attention(layer)); }
  StoredAttention attention_of_b(Index layer) const { return b_.attention(layer); }
  SeenMlp mlp_of_a(Index layer) const;
  SeenMlp mlp_of_b(Index layer) const;

 private:
  Index width() const { return a_.config().model_width; }
  Index rows_at_once() const;
  EntryComparison compare_norms(const StoredNorm& a, const StoredNorm& b) const;
  void compare_table(std::vector<OuterComparison>& list, Table table, const char* name) const;
  void compare_head(std::vector<OuterComparison>& list) const;
  void compare_transform(std::vector<OuterComparison>& list) const;
  void compare_task(std::vector<OuterComparison>& list, std::size_t index) const;
  StoredMatrix mean_row(const SeenModel& model) const;

  const SeenModel& a_;
  const SeenModel& b_;
  const StreamTransport& stream_;
  Outputs outputs_;
};

}  // namespace attnsym
