#pragma once

#include "symmetry/stored_attention.hpp"
#include "verify/models/stored_model.hpp"

namespace attnsym {

/// An MLP as normalised tokens see it, see MlpConfig; biases 1 x m and 1 x D, empty for none.
struct SeenMlp {
  StoredMatrix up;
  StoredMatrix gate;
  StoredMatrix down;
  StoredMatrix up_bias;
  StoredMatrix gate_bias;
  StoredMatrix down_bias;
};

/// A block without what its function does not depend on [N12]: gains and biases of norms are multiplied into
/// what reads behind them, and where a LayerNorm takes means away, so do the writers in front of it.
struct SeenBlock {
  StoredAttention attention;
  SeenMlp mlp;
  StoredNorm attention_output;  ///< gains behind attention, and biases unless the next writer has taken them
  StoredNorm mlp_output;
};

/// A model in this form, piece by piece: two models that only differ in where gains, biases and means are
/// kept have the same pieces. Refers to the model, which has to outlive it.
class SeenModel {
 public:
  explicit SeenModel(const StoredModel& model) : model_(model) {}

  const TransformerConfig& config() const { return model_.config(); }

  SeenBlock block(Index layer) const;

  /// Rows of a table as they are added to the stream, or, of the unembedding, D numbers per output as the
  /// last normalised stream meets them; without a head of the identity. What all positions have in common is
  /// added to all embeddings instead, and so is token type 0 to both.
  StoredMatrix rows(Table table, Index first, Index count) const;

  /// Of the table; D for the unembedding without a head.
  Index row_count(Table table) const;

  /// 1 x outputs: what every output has added.
  StoredMatrix output_bias() const;

  /// Gain and bias of the norm of embeddings, 1 x D; empty without one.
  StoredNorm embedding_norm() const;

  /// Whether every norm that the stream meets takes the means of tokens away, so that these do not count.
  bool is_centred() const;

  /// The same of embeddings.
  bool has_centred_embeddings() const;

  /// Whether gains act on the stream itself, so that it can be changed by signed permutations only.
  bool is_rigid() const;

 private:
  enum class Reader { Attention, Mlp, Head };

  StoredNorm norm_before(Reader reader, const StoredBlock* block, Index layer) const;
  StoredMatrix common_row() const;

  const StoredModel& model_;
};

}  // namespace attnsym
