#pragma once

#include <optional>

#include "checkpoint/checkpoint.hpp"
#include "symmetry/stored_model.hpp"

namespace attnsym {

/// A weight and the bias beside it, if there is one.
struct LinearTensors {
  StoredTensor weight;
  std::optional<StoredTensor> bias;
};

/// The tensors of an MLP. Gate and up may share a tensor.
struct MlpTensors {
  LinearTensors up;
  std::optional<LinearTensors> gate;
  LinearTensors down;
};

/// Where a checkpoint keeps what is not attention.
/// @throws FormatError naming what is missing, or why only the attention of this model is understood
class OuterTensors {
 public:
  explicit OuterTensors(const Checkpoint& checkpoint);

  /// Absent where the model has no such table. The unembedding of tied models is the embedding.
  std::optional<StoredTensor> table(Table table) const;

  /// What stands for rows 0 and 1 of the token types of a model with a class token; else nothing.
  std::vector<StoredTensor> types_apart() const;

  /// Gain, and bias of LayerNorms; absent where the model has no norm.
  std::optional<LinearTensors> norm(NormPlace place, Index layer) const;

  MlpTensors mlp(Index layer) const;

  Head head() const { return head_; }
  std::optional<StoredTensor> head_bias() const;

  /// Whether a tied model stores the embeddings once more as its head.
  std::optional<StoredTensor> second_copy() const {
    return head_ == Head::Tied ? head_weight_ : std::nullopt;
  }

  /// A tensor that reads the stream or writes to it and is no part of the model, such as a classifier's: it
  /// does not know of moves of the stream.
  std::optional<StoredTensor> beside_model() const;

  /// @throws FormatError naming the first tensor of the checkpoint that neither attention nor this table
  /// knows and that is no buffer: the model is not what the table says.
  void refuse_unknown() const;

 private:
  std::optional<LinearTensors> find_linear(const LinearNames& names, Index layer) const;
  LinearTensors require_linear(const LinearNames& names, Index layer) const;
  bool wants(NormPlace place) const;

  const Checkpoint& checkpoint_;
  const ModelLayout& layout_;
  Head head_ = Head::None;
  std::string head_name_;
  std::optional<StoredTensor> head_weight_;
};

}  // namespace attnsym
