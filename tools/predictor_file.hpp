#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "nfn/trainer.hpp"
#include "tools/network_folder.hpp"

namespace attnsym {

/// What a training may be asked for, on the command line and by a file.
struct TrainingLimits {
  static constexpr Index most = 1000000;  ///< epochs, checkpoints per step
  static constexpr double least_rate = 1e-12;
  static constexpr double most_rate = 1e3;
};

/// A predictor as a file holds it: the network, what it reads, and where its training stands. One file, so
/// that model and state cannot get out of step.
struct PredictorFile {
  NetworkLayout layout;
  Index channels = 10;
  Index head_features = 0;  ///< of Predictor; files without it are those of the published network
  TrainingOptions options;
  Index checkpoints = 0;  ///< that it is trained on
  std::string data;       ///< digest of their names, weights and labels
  Trainer<Predictor<float>, float> trainer;

  bool is_trained() const { return trainer.epoch == options.schedule.epochs; }
};

/// A safetensors file: every parameter under its name, the rest in the metadata; while training has epochs to
/// go, also the moments of the optimiser.
std::vector<std::byte> serialize(PredictorFile& predictor);

/// @throws IoError, FormatError naming the file and what is wrong with it.
PredictorFile read_predictor(const std::filesystem::path& path);

/// "bce" or "mse".
std::string name_of(Loss loss);

/// Are all parameters finite?
bool is_finite(Predictor<float>& network);

}  // namespace attnsym
