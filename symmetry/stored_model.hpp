#pragma once

#include <span>
#include <vector>

#include "symmetry/stored_attention.hpp"
#include "symmetry/stored_transformer.hpp"

namespace attnsym {

/// The tables of a model that have a row for every token or position.
enum class Table { Embedding, Positions, TokenTypes, Unembedding };

/// Where a model has norms.
enum class NormPlace { Embedding, AttentionInput, AttentionOutput, MlpInput, MlpOutput, Final };
constexpr std::size_t norm_places = 6;

/// A whole model that is read piece by piece, as it may be larger than memory. Different pieces may be read
/// from different threads. What the config does not have is empty.
class StoredModel {
 public:
  virtual ~StoredModel() = default;

  virtual const TransformerConfig& config() const = 0;

  /// count x D, rows first, first + 1, ... of a table that the config has. Embeddings are rows of the
  /// unembedding where these are tied.
  virtual StoredMatrix rows(Table table, Index first, Index count) const = 0;

  /// @param layer  of a block's norm; else it does not matter
  virtual StoredNorm norm(NormPlace place, Index layer) const = 0;

  virtual StoredAttention attention(Index layer) const = 0;

  /// Some of the neurons of a block, in this order, and the bias behind all of them.
  virtual StoredMlp neurons(Index layer, std::span<const Index> which) const = 0;

  /// 1 x V.
  virtual StoredMatrix head_bias() const = 0;
};

/// Rows of a table; 0 where the model has none.
Index row_count(const TransformerConfig& config, Table table);

/// first, first + 1, ...
std::vector<Index> consecutive(Index first, Index count);

/// All of one block.
StoredBlock read_block(const StoredModel& model, Index layer);

/// A model that is in memory.
class HeldModel : public StoredModel {
 public:
  /// @throws ShapeError unless both fit the config
  HeldModel(TransformerConfig config, TransformerWeights<double> value, TransformerWeights<double> radius);

  const TransformerConfig& config() const override { return config_; }
  StoredMatrix rows(Table table, Index first, Index count) const override;
  StoredNorm norm(NormPlace place, Index layer) const override;
  StoredAttention attention(Index layer) const override;
  StoredMlp neurons(Index layer, std::span<const Index> which) const override;
  StoredMatrix head_bias() const override;

 private:
  TransformerConfig config_;
  TransformerWeights<double> value_;
  TransformerWeights<double> radius_;
};

}  // namespace attnsym
