#pragma once

#include <cmath>
#include <vector>

#include "nfn/layer.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {

/// Rates over a training: linear from peak / warmup to peak over the first epochs, then half a cosine towards
/// `last`.
struct Schedule {
  double peak = 1e-3;
  double last = 1e-5;
  Index warmup = 10;  ///< epochs; 0 for none
  Index epochs = 100;

  /// The rate of epoch 0, 1, ..., epochs - 1.
  double rate(Index epoch) const;
};

struct AdamOptions {
  double beta1 = 0.9;     ///< how long the mean of gradients remembers
  double beta2 = 0.999;   ///< and that of their squares
  double epsilon = 1e-8;  ///< beside the root of the latter
};

/// Adam (Kingma and Ba 2015) with bias correction. Its state is two more sets of parameters and a count, so
/// it can be stored like the network.
template <class Network>
struct Adam {
  Network mean;         ///< of the gradients
  Network mean_square;  ///< of their squares, entry by entry
  Index steps = 0;
  AdamOptions options = {};

  /// @param like has the shape of the network; its numbers do not matter.
  explicit Adam(const Network& like) : mean(zero_like(like)), mean_square(mean) {}

  /// One step of the network against the gradient.
  void step(Network& network, Network& gradient, double rate) {
    ++steps;
    const auto n = static_cast<double>(steps);
    const double root_correction = std::sqrt(1 - std::pow(options.beta2, n));
    const double length = rate * root_correction / (1 - std::pow(options.beta1, n));
    const auto parameters = parameter_matrices(network.parameters());
    const auto slopes = parameter_matrices(gradient.parameters());
    const auto means = parameter_matrices(mean.parameters());
    const auto squares = parameter_matrices(mean_square.parameters());
    require_same_size("the parameters of network and gradient", parameters.size(), slopes.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      move(*parameters[i], *slopes[i], *means[i], *squares[i], length, options.epsilon * root_correction);
    }
  }

 private:
  template <class S>
  void move(Matrix<S>& parameters, const Matrix<S>& slopes, Matrix<S>& means, Matrix<S>& squares,
            double length, double epsilon) const {
    const S b1 = static_cast<S>(options.beta1);
    const S b2 = static_cast<S>(options.beta2);
    means = b1 * means + (S(1) - b1) * slopes;
    squares.array() = b2 * squares.array() + (S(1) - b2) * slopes.array().square();
    parameters.array() -=
        static_cast<S>(length) * means.array() / (squares.array().sqrt() + static_cast<S>(epsilon));
  }
};

}  // namespace attnsym
