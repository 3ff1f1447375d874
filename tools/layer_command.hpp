#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint/dtype.hpp"
#include "checkpoint/temporary_folder.hpp"
#include "symmetry/errors.hpp"
#include "tools/layer_group.hpp"

namespace attnsym {

/// A layer in another language: a shell command that reads one safetensors file and writes another.
struct LayerCommandOptions {
  std::string command;       ///< with {in} and {out}, unquoted, where the names of the two files belong
  Dtype dtype = Dtype::F64;  ///< of what is written for it; F64 or F32
  double timeout = 60;       ///< seconds for one call
};

/// One tensor that the layer returned, the axis of checkpoints included.
struct LayerOutput {
  Dtype dtype = Dtype::F64;
  std::vector<Index> axes;
  std::vector<double> values;  ///< row-major
};

/// By name.
using LayerOutputs = std::map<std::string, LayerOutput>;

/// A call that gave no answer: the command failed, took too long, or wrote no sound file.
class LayerCallError : public Error {
 public:
  using Error::Error;
};

class LayerCommand {
 public:
  /// Makes a folder for its files, under TMPDIR. @throws ShapeError unless the command has {in} and {out}.
  explicit LayerCommand(LayerCommandOptions options);

  /// Applies the layer to checkpoints with these tensors, side by side along a new first axis.
  /// @throws LayerCallError
  LayerOutputs operator()(const std::vector<TensorAxes>& tensors,
                          const std::vector<TensorValues>& checkpoints);

  /// How often the command has run.
  int calls() const { return calls_; }

 private:
  LayerCommandOptions options_;
  TemporaryFolder folder_;
  int calls_ = 0;
};

}  // namespace attnsym
