#pragma once

#include <memory>
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

/// Some of the neurons of an MLP, a column each.
struct StoredNeurons {
  StoredMatrix gate;  ///< (D + 1) x n, the last row their biases or zero; empty unless gated
  StoredMatrix up;    ///< likewise
  StoredMatrix down;  ///< D x n, the rows of Mlp::down
};

/// The neurons of one block, read as they are needed. What makes that cheap is kept; for one thread.
class NeuronReader {
 public:
  virtual ~NeuronReader() = default;

  /// m.
  virtual Index count() const = 0;

  /// These neurons, in this order.
  virtual StoredNeurons read(std::span<const Index> which) const = 0;
};

/// A whole model that is read piece by piece, as it may be larger than memory. Different pieces may be read
/// from different threads. What the config does not have is empty.
class StoredModel {
 public:
  virtual ~StoredModel() = default;

  virtual const TransformerConfig& config() const = 0;

  /// count x D, rows first, first + 1, ... of a table that the config has, D being its transform's width for
  /// an unembedding of its own. Embeddings are rows of the unembedding where these are tied.
  virtual StoredMatrix rows(Table table, Index first, Index count) const = 0;

  /// @param layer  of a block's norm; else it does not matter
  virtual StoredNorm norm(NormPlace place, Index layer) const = 0;

  virtual StoredAttention attention(Index layer) const = 0;

  /// Refers to the model, which has to outlive it.
  virtual std::unique_ptr<NeuronReader> neurons(Index layer) const = 0;

  /// 1 x D, behind the neurons.
  virtual StoredMatrix mlp_bias(Index layer) const = 0;

  /// 1 x V.
  virtual StoredMatrix head_bias() const = 0;

  virtual StoredTransform head_transform() const = 0;

  /// @param index  of config().tasks
  virtual StoredTask task(std::size_t index) const = 0;
};

/// Rows of a table; 0 where the model has none.
Index row_count(const TransformerConfig& config, Table table);

/// first, first + 1, ...
std::vector<Index> consecutive(Index first, Index count);

/// All of one MLP.
StoredMlp read_mlp(const StoredModel& model, Index layer);

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
  std::unique_ptr<NeuronReader> neurons(Index layer) const override;
  StoredMatrix mlp_bias(Index layer) const override;
  StoredMatrix head_bias() const override;
  StoredTransform head_transform() const override;
  StoredTask task(std::size_t index) const override;

 private:
  TransformerConfig config_;
  TransformerWeights<double> value_;
  TransformerWeights<double> radius_;
};

}  // namespace attnsym
