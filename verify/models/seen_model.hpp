#pragma once

#include <memory>
#include <optional>

#include "symmetry/stored_model.hpp"

namespace attnsym {

/// A model without what its function does not depend on [N12], piece by piece: gains and biases of norms are
/// multiplied into what reads behind them, and where LayerNorms take means away, writers have none. Two
/// models that only differ in where these are kept have the same pieces. Refers to the model, which has to
/// outlive it.
class SeenModel {
 public:
  explicit SeenModel(const StoredModel& model);

  /// What meets the normalised stream.
  enum class Reader { Attention, Mlp, Last };

  /// The norm in front of a reader, and the block that has it, or 0; nothing where there is none.
  struct Place {
    NormPlace norm;
    Index layer;
  };
  std::optional<Place> place_before(Reader reader, Index layer) const;

  const TransformerConfig& config() const { return model_.config(); }

  StoredAttention attention(Index layer) const;

  /// As normalised tokens see them.
  std::unique_ptr<NeuronReader> neurons(Index layer) const;

  /// 1 x D, behind the neurons; empty without one.
  StoredMatrix mlp_bias(Index layer) const;

  /// Gains of the norms behind a branch, and their biases unless the next writer has taken them.
  StoredNorm norm_behind(NormPlace place, Index layer) const;

  /// Rows of a table as they are added to the stream, or, of the unembedding, numbers per output as the
  /// last normalised stream meets them, or what its transform makes of that; of the identity where the stream
  /// is the output. What all positions have in common is
  /// added to all embeddings instead, and so is token type 0 to both; those in front of the first token's are
  /// left out. With a class token there are no types left: they are added to the positions.
  StoredMatrix rows(Table table, Index first, Index count) const;

  /// Of the table; D for the unembedding where the stream is the output.
  Index row_count(Table table) const;

  /// Whether rows of the unembedding have the basis of the stream: not those behind a transform of their own.
  bool has_unembedding_in_stream() const {
    return config().head_transform.width == 0 || config().ends_in_stream();
  }

  /// 1 x outputs of the head: what every output has added.
  StoredMatrix output_bias() const;

  /// Dense layer and bias as the last normalised stream meets them, without the norm, which rows of the
  /// unembedding have; empty without one.
  StoredTransform head_transform() const;

  /// The same of a task, whose map has the norm.
  StoredTask task(std::size_t index) const;

  /// Gain and bias of the norm of embeddings, 1 x D; empty without one.
  StoredNorm embedding_norm() const;

  /// Whether every norm that the stream meets takes the means of tokens away, so that these do not count.
  bool is_centred() const;

  /// The same of embeddings.
  bool has_centred_embeddings() const;

  /// Whether gains act on the stream itself, so that it can be changed by signed permutations only.
  bool is_rigid() const;

 private:
  StoredNorm norm_before(Reader reader, Index layer) const;
  StoredNorm norm_before_head() const;
  StoredMatrix common_part(Table table, Index first, Index count) const;

  const StoredModel& model_;
  StoredMatrix types_;          // the rows of token types that are read
  StoredMatrix mean_position_;  // 1 x D
};

}  // namespace attnsym
