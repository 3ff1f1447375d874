#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/layer_command.hpp"
#include "tools/layer_group.hpp"

namespace attnsym {

/// How far a layer is from commuting with one element, in one tensor of its output.
struct OutputError {
  std::string tensor;
  Dtype dtype = Dtype::F64;
  double error = 0;    ///< the largest entry of layer(g w) - g layer(w)
  double size = 0;     ///< the largest entry of the whole output, at w or at g w
  double allowed = 0;  ///< what rounding explains

  double relative() const { return size > 0 ? error / size : 0; }
};

/// Weights k / 4 and an element of one generator, both by small integers.
struct Draw {
  Choices weights;
  Choices element;
};

/// What is found out about one generator.
struct GeneratorFinding {
  enum class Answer { Commutes, Breaks, Undecided };

  std::string name;
  Answer answer = Answer::Commutes;
  std::size_t draws = 0;
  std::vector<OutputError> errors;  ///< the worst of all draws, or those of the counterexample
  std::optional<Draw> counterexample;
  bool smallest = false;  ///< nothing simpler fails, as far as was tried
};

struct TrialOptions {
  bool invariant = false;  ///< the output is to stay as it is, instead of being moved too
  Index channels = 1;
  std::size_t draws = 20;  ///< per generator
  std::uint64_t seed = 1;
  std::size_t batch = 512;          ///< checkpoints in one call, at most
  int shrink_calls = 40;            ///< per generator, at most
  std::optional<std::string> only;  ///< this generator alone
};

struct TrialFinding {
  std::vector<GeneratorFinding> generators;
  bool constant = false;  ///< the output was the same for all weights drawn, so nothing was shown
};

/// Applies the layer to weights w and g w for random w and g, one call per generator, and shrinks what fails:
/// every further call tries many simpler cases side by side.
/// @throws LayerCallError if the layer gives no answer, FormatError if its output is not what it should be:
/// tensors missing, of wrong shape, not finite, or different for equal weights.
TrialFinding try_layer(const LayerGroup& group, LayerCommand& layer, const TrialOptions& options);

/// The weights of a draw as a checkpoint of so many channels.
TensorValues weights_of(const LayerGroup& group, const Draw& draw, Index channels);

}  // namespace attnsym
