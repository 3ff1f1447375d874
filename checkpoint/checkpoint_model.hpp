#pragma once

#include "checkpoint/outer_tensors.hpp"
#include "checkpoint/stored_numbers.hpp"

namespace attnsym {

/// A checkpoint as a whole model, in the conventions of N1 and N12, whatever the file has. Refers to the
/// checkpoint, which has to outlive it. Reading throws FormatError with file, tensor and position if an entry
/// is not finite.
class CheckpointModel : public StoredModel {
 public:
  /// @throws FormatError, ShapeError with file, tensor and reason if the checkpoint is not a whole model of
  /// its family: a tensor is missing, of another shape, of a dtype that cannot be read, or one is there that
  /// the family does not have
  explicit CheckpointModel(const Checkpoint& checkpoint, Radii radii = Radii::Quantized);

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
  void require_shapes() const;
  void require_stated_sizes() const;
  void require_head_shapes() const;
  StoredNorm read_norm(const LinearTensors& tensors) const;
  StoredTransform read_transform(const std::optional<TransformTensors>& tensors) const;
  StoredMatrix types_apart(Index first, Index count) const;

  const Checkpoint& checkpoint_;
  OuterTensors tensors_;
  Radii radii_;
  bool transposed_;
  TransformerConfig config_;
};

}  // namespace attnsym
