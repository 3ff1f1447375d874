#pragma once

#include <array>
#include <optional>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/module_slices.hpp"

namespace attnsym {

/// The stored tensors of one attention module. A bias may be absent, a weight may not. Projections may share
/// a tensor.
class ModuleTensors {
 public:
  /// @throws FormatError if a weight is missing
  ModuleTensors(const Checkpoint& checkpoint, Index layer);

  const std::optional<StoredTensor>& at(Projection projection, Part part) const {
    return tensors_[position(projection, part)];
  }

  /// The gains of norms over queries and keys, if there are any.
  const std::optional<StoredTensor>& query_gain() const { return query_gain_; }
  const std::optional<StoredTensor>& key_gain() const { return key_gain_; }

  const Placement& placement() const { return placement_; }

  /// Of the tensors that take their place: those of GGUF and llama2.c files are written as Hugging Face has
  /// them.
  const Placement& written_as() const { return written_as_; }

  /// Every tensor once.
  std::vector<StoredTensor> present() const;

 private:
  std::vector<const std::optional<StoredTensor>*> all() const;

  static std::size_t position(Projection projection, Part part) {
    return 2 * static_cast<std::size_t>(projection) + static_cast<std::size_t>(part);
  }

  bool is_untransposed(const ModelConfig& config) const;

  std::array<std::optional<StoredTensor>, 8> tensors_;
  std::optional<StoredTensor> query_gain_;
  std::optional<StoredTensor> key_gain_;
  Placement placement_;
  Placement written_as_;
};

/// The module that these tensors are.
/// @throws ShapeError if a tensor's shape disagrees with config.json, FormatError if its dtype cannot be read
AttentionConfig checked_config(const Checkpoint& checkpoint, const ModuleTensors& tensors, Index layer);

/// Where a number of a stored row of gains belongs, which has those of one head or of several.
inline Index place_of(Index stored, const ModuleSlices& slices, const AttentionConfig& config) {
  const Index in_head = stored % config.key_width;
  return stored - in_head + slices.coordinate(in_head);
}

}  // namespace attnsym
