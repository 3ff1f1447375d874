#pragma once

#include <optional>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/model_classes.hpp"
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

/// The tensors of a transform and of a task.
struct TransformTensors {
  LinearTensors dense;
  std::optional<LinearTensors> norm;
};
struct TaskTensors {
  ReadTokens tokens = ReadTokens::All;
  std::optional<TransformTensors> transform;
  std::optional<LinearTensors> output;
};

/// Where a checkpoint keeps what is not attention, and what of it the class of the model reads, which
/// config.json names under `architectures`; where it does not, a head is what is there.
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
  std::optional<StoredTensor> head_bias() const { return head_bias_; }

  /// Whether a tied model stores the embeddings once more as its head.
  std::optional<StoredTensor> second_copy() const {
    return head_ == Head::Tied ? head_weight_ : std::nullopt;
  }

  /// In front of the head; absent where the head reads the stream.
  std::optional<TransformTensors> head_transform() const;

  /// Outputs beside the head's.
  std::optional<TaskTensors> task() const;

  /// A tied model may store the bias of its head twice.
  std::optional<StoredTensor> second_bias() const { return second_bias_; }

  /// The activation of a transform, as the configuration or the class spells it.
  std::string head_activation() const;
  std::string task_activation() const;

  /// What else makes tokens, of images, and is compared as it is.
  std::vector<StoredTensor> beside() const;

 private:
  std::optional<LinearTensors> find_linear(const LinearNames& names, Index layer) const;
  LinearTensors require_linear(const LinearNames& names, Index layer) const;
  bool wants(NormPlace place) const;
  void find_class();
  void find_head();
  void find_predictions(const HeadNames& names);
  void require_tied() const;
  std::string full_name(std::string_view name) const;
  StoredTensor require_named(const std::string& name) const;
  LinearTensors require_module(std::string_view name, bool bias) const;
  std::optional<TransformTensors> transform(const TransformNames& names) const;
  std::string activation(const TransformNames& names) const;

  const Checkpoint& checkpoint_;
  const ModelLayout& layout_;
  std::optional<ModelClass> class_;
  Head head_ = Head::None;
  std::string head_name_;
  std::optional<StoredTensor> head_weight_;
  std::optional<StoredTensor> head_bias_;
  std::optional<StoredTensor> second_bias_;
};

}  // namespace attnsym
