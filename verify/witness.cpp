#include "verify/witness.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "verify/attend.hpp"

namespace attnsym {
namespace {

constexpr Index sequence_length = 4;
constexpr int noise_draws = 8;
constexpr int random_inputs = 6;

Matrix<double> normal_tokens(Random& random, Index width, double size) {
  Matrix<double> tokens(sequence_length, width);
  for (Index i = 0; i < tokens.size(); ++i) tokens.data()[i] = size * random.normal();
  return tokens;
}

// Tokens with most of their weight on one coordinate: there a single edited row or column is not averaged
// away.
Matrix<double> peaked_tokens(Random& random, Index width, double size, Index coordinate) {
  Matrix<double> tokens = normal_tokens(random, width, size / std::sqrt(static_cast<double>(width)));
  const double peak = size * std::sqrt(static_cast<double>(width));
  for (Index n = 0; n < tokens.rows(); ++n) tokens(n, coordinate) = peak * random.normal();
  return tokens;
}

// Logits x^T M y of normal tokens of entry size t have standard deviation t^2 |M|: sizes for logits of about
// 1, 3, 0.3.
std::vector<double> token_sizes(double logit_norm) {
  if (!(logit_norm > 0)) return {1.0};
  return {std::sqrt(1 / logit_norm), std::sqrt(3 / logit_norm), std::sqrt(0.3 / logit_norm)};
}

std::vector<Matrix<double>> candidates(Index width, const WitnessHints& hints, Random& random) {
  std::vector<Matrix<double>> inputs;
  for (const double size : token_sizes(hints.logit_norm)) {
    for (int i = 0; i < random_inputs; ++i) inputs.push_back(normal_tokens(random, width, size));
    for (const Index coordinate : hints.coordinates) {
      if (coordinate < width) inputs.push_back(peaked_tokens(random, width, size, coordinate));
    }
  }
  return inputs;
}

// The rounding noise of a pair. It has the same room for float32 arithmetic as the limit of the rounding
// ratio: a pair that a float32 tool made must not be called distinct.
class Noise {
 public:
  Noise(const StoredAttention& a, const StoredAttention& b)
      : a_(a), b_(b), allowance_a_(allowance(a)), allowance_b_(allowance(b)) {}

  // The largest change of the gap over several draws that move every stored weight within its rounding.
  double at(const Witness& witness, int draws, std::uint64_t seed) const {
    Random random(seed);
    double largest = 0;
    for (int draw = 0; draw < draws; ++draw) {
      const Matrix<double> moved_a =
          attend(a_.config, perturbed(a_, allowance_a_, random), witness.input) - witness.output_a;
      const Matrix<double> moved_b =
          attend(b_.config, perturbed(b_, allowance_b_, random), witness.input) - witness.output_b;
      largest = std::max(largest, (moved_a - moved_b).norm());
    }
    const double arithmetic = 1e-13 * (witness.output_a.norm() + witness.output_b.norm());
    return largest + arithmetic;
  }

 private:
  static double allowance(const StoredAttention& module) {
    return arithmetic_allowance(std::max(module.config.key_width, module.config.value_width),
                                storage_unit(module));
  }

  const StoredAttention& a_;
  const StoredAttention& b_;
  double allowance_a_;
  double allowance_b_;
};

Witness without_noise(const StoredAttention& a, const StoredAttention& b, const Matrix<double>& input) {
  Witness witness{input, attend(a.config, a.weights, input), attend(b.config, b.weights, input)};
  witness.gap = (witness.output_a - witness.output_b).norm();
  return witness;
}

double strength(const Witness& witness) {
  if (!std::isfinite(witness.gap) || witness.gap == 0) return 0;
  return witness.gap / witness.noise;
}

}  // namespace

Witness measure_witness(const StoredAttention& a, const StoredAttention& b, const Matrix<double>& input,
                        std::uint64_t seed) {
  Witness witness = without_noise(a, b, input);
  witness.noise = Noise(a, b).at(witness, noise_draws, seed);
  return witness;
}

Witness search_witness(const StoredAttention& a, const StoredAttention& b, const WitnessHints& hints,
                       double factor, std::uint64_t seed) {
  const Noise noise(a, b);
  Random random(seed);
  Witness best;
  for (const Matrix<double>& input : candidates(a.config.model_width, hints, random)) {
    Witness witness = without_noise(a, b, input);
    // One draw sorts out the hopeless inputs: more draws can only raise the noise.
    witness.noise = noise.at(witness, 1, seed);
    if (strength(witness) >= factor) witness.noise = noise.at(witness, noise_draws, seed);
    if (best.input.size() == 0 || strength(witness) > strength(best)) best = std::move(witness);
    if (strength(best) >= factor) break;
  }
  return best;
}

}  // namespace attnsym
