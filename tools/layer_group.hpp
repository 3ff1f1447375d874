#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nfn/block_shape.hpp"
#include "symmetry/attention_config.hpp"

namespace attnsym {

/// One tensor of one checkpoint: its name in files, and its axes without the one of checkpoints.
struct TensorAxes {
  std::string name;
  std::vector<Index> axes;

  Index size() const;
};

/// The values of one checkpoint: tensor after tensor, each in row-major order.
using TensorValues = std::vector<std::vector<double>>;

/// Integers that decide a group element. Zeros are the identity, and fewer and smaller ones are simpler, so
/// that who shrinks a failure knows nothing of groups.
using Choices = std::vector<int>;

/// A group, and the weights that it acts on, as a layer in another language sees them: tensors in files.
class LayerGroup {
 public:
  virtual ~LayerGroup() = default;

  /// In words: the group and the shape.
  virtual std::string describe() const = 0;

  /// The names of the parts that together generate the group. Those that are trivial at this shape are not
  /// among them.
  virtual std::vector<std::string> generators() const = 0;

  /// Whether tensors have an axis of channels.
  virtual bool has_channels() const = 0;

  /// What a checkpoint of so many channels holds.
  virtual std::vector<TensorAxes> tensors(Index channels) const = 0;

  /// How many choices decide an element of this generator.
  virtual std::size_t choices(std::size_t generator) const = 0;

  /// The element acting on one checkpoint. Weights k / 4 with small k are moved exactly.
  virtual TensorValues moved(std::size_t generator, const Choices& element, const TensorValues& values,
                             Index channels) const = 0;

  /// The element, for people.
  virtual std::string show(std::size_t generator, const Choices& element) const = 0;
};

/// Blocks, with the names and axes of nfn/row_major.hpp. `reorder_model`: P_D is in the group.
std::unique_ptr<LayerGroup> block_layer_group(const BlockShape& shape, bool reorder_model);

/// Attention modules: query [h, D, dk], key [g, D, dk], value [g, D, dv], output [h, dv, D], and of the
/// biases query_bias [h, dk], key_bias [g, dk], value_bias [g, dv], output_bias [D] those that the config
/// has.
std::unique_ptr<LayerGroup> attention_layer_group(const AttentionConfig& config);

}  // namespace attnsym
