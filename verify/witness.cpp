#include "verify/witness.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "verify/attend.hpp"

namespace attnsym {
namespace {

constexpr Index sequence_length = 4;
constexpr int noise_draws = 8;
constexpr int directed_inputs = 4;

Matrix<double> normal_tokens(Random& random, Index width, double size) {
  Matrix<double> tokens(sequence_length, width);
  for (Index i = 0; i < tokens.size(); ++i) tokens.data()[i] = size * random.normal();
  return tokens;
}

// Random combinations of a few directions.
Matrix<double> directed_tokens(Random& random, const Matrix<double>& directions, double size) {
  Matrix<double> mix(sequence_length, directions.rows());
  for (Index i = 0; i < mix.size(); ++i) mix.data()[i] = size * random.normal();
  return mix * directions;
}

// Logits are quadratic in the tokens: sizes that bring them to about 1, 3, 0.3 and 10.
std::vector<double> token_sizes(double logit) {
  if (!(logit > 0)) return {1.0};
  return {std::sqrt(1 / logit), std::sqrt(3 / logit), std::sqrt(0.3 / logit), std::sqrt(10 / logit)};
}

std::vector<Matrix<double>> candidates(Index width, const WitnessHints& hints, Random& random) {
  // Zero tokens put out the constant alone.
  std::vector<Matrix<double>> inputs{Matrix<double>::Zero(sequence_length, width)};
  for (const double size : token_sizes(hints.logit_norm))
    inputs.push_back(normal_tokens(random, width, size));
  if (hints.directions.rows() == 0) return inputs;
  for (const double size : token_sizes(hints.direction_logit)) {
    for (int i = 0; i < directed_inputs; ++i)
      inputs.push_back(directed_tokens(random, hints.directions, size));
  }
  return inputs;
}

// The leading singular vectors of a - b by power iteration on the factors; zero if the circuits are equal.
struct LeadingPair {
  Matrix<double> left;   // rows x 1
  Matrix<double> right;  // cols x 1
};

LeadingPair leading_pair(const Circuit<double>& a, const Circuit<double>& b) {
  constexpr int iterations = 20;
  LeadingPair pair{Matrix<double>(), fixed_probe<double>(a.right.rows(), 1, 0x6c656164)};
  for (int i = 0; i < iterations; ++i) {
    pair.left = a.left * (a.right.transpose() * pair.right) - b.left * (b.right.transpose() * pair.right);
    pair.left.normalize();
    pair.right = a.right * (a.left.transpose() * pair.left) - b.right * (b.left.transpose() * pair.left);
    pair.right.normalize();
  }
  return pair;
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

WitnessHints hints_from(const Circuit<double>& qk_a, const Circuit<double>& qk_b, const Circuit<double>& vo_a,
                        const Circuit<double>& vo_b) {
  const Index d = qk_a.right.rows();
  const LeadingPair qk = leading_pair(qk_a, qk_b);
  const LeadingPair vo = leading_pair(vo_a, vo_b);
  WitnessHints hints{norm(qk_a), Matrix<double>(3, d), 0};
  hints.directions << qk.left.topRows(d).transpose(), qk.right.transpose(), vo.left.transpose();
  for (Index i = 0; i < hints.directions.rows(); ++i) {
    const double size = hints.directions.row(i).norm();  // zero where the circuits agree
    if (size > 0) hints.directions.row(i) /= size;
  }
  const Matrix<double> queries = hints.directions * qk_a.left.topRows(d);
  hints.direction_logit = (queries * (hints.directions * qk_a.right).transpose()).cwiseAbs().maxCoeff();
  return hints;
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
