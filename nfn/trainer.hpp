#pragma once

#include <functional>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "nfn/adam.hpp"
#include "nfn/loss.hpp"
#include "nfn/predictor.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/run_tasks.hpp"

namespace attnsym {

struct TrainingOptions {
  Loss loss = Loss::binary_cross_entropy;
  Schedule schedule;
  Index batch = 16;        ///< checkpoints per step
  Index chunk = 8;         ///< checkpoints per task: few enough to stay in the cache
  std::uint64_t seed = 1;  ///< of the orders in which epochs go through the checkpoints
};

/// Trains a network on networks. Steps are bit-reproducible whatever runs the tasks: the chunks of a batch do
/// not depend on it, and their gradients are added in order. An epoch depends on network, optimiser and the
/// number of the epoch alone, so that these are all that has to be stored to go on later.
template <class Network, class S>
requires NetworkOnNetworks<Network, S>
class Trainer {
 public:
  Trainer(Network start, TrainingOptions options)
      : network(std::move(start)), adam(network), options_(options) {}

  /// The next epoch: one pass over all checkpoints in an order of its own. @return the mean loss on the way
  /// @param labels 1 x n. @throws ShapeError if they are not, or on options that are not positive.
  double run_epoch(const NetworkWeights<S>& weights, const Matrix<S>& labels, const RunTasks& run_tasks);

  Network network;
  Adam<Network> adam;
  Index epoch = 0;  ///< epochs done

 private:
  double step(const NetworkWeights<S>& weights, const Matrix<S>& labels, std::span<const Index> places,
              const RunTasks& run_tasks);

  TrainingOptions options_;
};

/// 0 ... count - 1 in a random order that seed and epoch determine.
std::vector<Index> epoch_order(Index count, std::uint64_t seed, Index epoch);

/// Outputs of a network for many checkpoints, 1 x n, `chunk` at a time.
template <class S, NetworkOnNetworks<S> Network>
Matrix<S> outputs_of(const Network& network, const NetworkWeights<S>& weights, const RunTasks& run_tasks,
                     Index chunk = 8) {
  std::vector<Index> places(static_cast<std::size_t>(weights.batch()));
  std::iota(places.begin(), places.end(), Index{0});
  Matrix<S> outputs(1, weights.batch());
  const auto count = static_cast<std::size_t>((weights.batch() + chunk - 1) / chunk);
  run_tasks(count, [&](std::size_t i) {
    const Index first = static_cast<Index>(i) * chunk;
    const Index size = std::min(chunk, weights.batch() - first);
    outputs.middleCols(first, size) = network(select<S>(weights, std::span(places).subspan(first, size)));
  });
  return outputs;
}

template <class Network, class S>
requires NetworkOnNetworks<Network, S>
double Trainer<Network, S>::run_epoch(const NetworkWeights<S>& weights, const Matrix<S>& labels,
                                      const RunTasks& run_tasks) {
  require_same_size("labels per checkpoint and one", 1, labels.rows());
  require_same_size("checkpoints and labels", weights.batch(), labels.cols());
  if (std::min(options_.batch, options_.chunk) < 1) throw ShapeError("a batch needs checkpoints");
  const std::vector<Index> order = epoch_order(weights.batch(), options_.seed, epoch);
  double loss = 0;
  for (Index first = 0; first < weights.batch(); first += options_.batch) {
    const Index size = std::min(options_.batch, weights.batch() - first);
    loss += step(weights, labels, std::span(order).subspan(first, size), run_tasks);
  }
  ++epoch;
  return loss / static_cast<double>(weights.batch());
}

// @return the sum of the losses before the step
template <class Network, class S>
requires NetworkOnNetworks<Network, S>
double Trainer<Network, S>::step(const NetworkWeights<S>& weights, const Matrix<S>& labels,
                                 std::span<const Index> places, const RunTasks& run_tasks) {
  const auto chunk = static_cast<std::size_t>(options_.chunk);
  const std::size_t chunks = (places.size() + chunk - 1) / chunk;
  std::vector<std::optional<Network>> gradients(chunks);
  std::vector<double> losses(chunks);
  run_tasks(chunks, [&](std::size_t i) {
    const auto mine = places.subspan(i * chunk, std::min(chunk, places.size() - i * chunk));
    Matrix<S> wanted(1, static_cast<Index>(mine.size()));
    for (std::size_t n = 0; n < mine.size(); ++n) wanted(static_cast<Index>(n)) = labels(mine[n]);
    gradients[i] = network.differentiate(select(weights, mine), [&](const Matrix<S>& outputs) {
      LossSum<S> sum = sum_of_losses(options_.loss, outputs, wanted);
      losses[i] = sum.value;
      return Matrix<S>(sum.cotangent / S(static_cast<double>(places.size())));
    });
  });
  const auto total = parameter_matrices(gradients[0]->parameters());
  for (std::size_t i = 1; i < chunks; ++i) {
    const auto term = parameter_matrices(gradients[i]->parameters());
    for (std::size_t m = 0; m < total.size(); ++m) *total[m] += *term[m];
  }
  adam.step(network, *gradients[0], options_.schedule.rate(epoch));
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace attnsym
