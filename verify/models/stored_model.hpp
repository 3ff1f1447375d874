#pragma once

#include "symmetry/stored_transformer.hpp"

namespace attnsym {

/// The tables of a model that have a row for every token or position.
enum class Table { Embedding, Positions, TokenTypes, Unembedding };

/// A whole model that is read piece by piece, as it may be larger than memory. Different pieces may be read
/// from different threads.
class StoredModel {
 public:
  virtual ~StoredModel() = default;

  virtual const TransformerConfig& config() const = 0;

  /// @param layer  0 <= layer < config().blocks()
  virtual StoredBlock block(Index layer) const = 0;

  /// count x D, rows first, first + 1, ... of a table that the config has. Embeddings are rows of the
  /// unembedding where these are tied.
  virtual StoredMatrix rows(Table table, Index first, Index count) const = 0;

  /// Empty where the config has none.
  virtual StoredNorm embedding_norm() const = 0;
  virtual StoredNorm final_norm() const = 0;

  /// 1 x V, or empty.
  virtual StoredMatrix head_bias() const = 0;
};

/// Rows of a table; 0 where the model has none.
Index row_count(const TransformerConfig& config, Table table);

/// A model that is in memory.
class HeldModel : public StoredModel {
 public:
  /// @throws ShapeError unless both fit the config
  HeldModel(TransformerConfig config, TransformerWeights<double> value, TransformerWeights<double> radius);

  const TransformerConfig& config() const override { return config_; }
  StoredBlock block(Index layer) const override;
  StoredMatrix rows(Table table, Index first, Index count) const override;
  StoredNorm embedding_norm() const override;
  StoredNorm final_norm() const override;
  StoredMatrix head_bias() const override;

 private:
  TransformerConfig config_;
  TransformerWeights<double> value_;
  TransformerWeights<double> radius_;
};

}  // namespace attnsym
