#include "verify/witness.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/safe_norm.hpp"
#include "verify/attend.hpp"
#include "verify/comparison.hpp"
#include "verify/enclosure.hpp"
#include "verify/stored_unit.hpp"
#include "verify/within_radius.hpp"

namespace attnsym {
namespace {

// Another file that could have been stored for the same function.
AttentionWeights<double> perturbed(const StoredAttention& module, double allowance, Random& random) {
  AttentionWeights<double> result = module.weights;
  const auto for_each = [](auto& weights, auto visit) { for_each_slot(weights, visit); };
  move_all_within_radius(result, module.radius, for_each, random, allowance);
  return result;
}

// The same room for float32 arithmetic as the limit of the rounding ratio has: a pair that a float32 tool
// made must not be called distinct.
double allowance_of(const StoredAttention& module) {
  return arithmetic_allowance(std::max(module.config.key_width, module.config.value_width),
                              storage_unit(module));
}

double drawn_noise(const StoredAttention& a, const StoredAttention& b, const Witness& witness, int draws,
                   std::uint64_t seed) {
  const double allowance_a = allowance_of(a);
  const double allowance_b = allowance_of(b);
  Random random(seed);
  double largest = 0;
  for (int draw = 0; draw < draws; ++draw) {
    const Matrix<double> moved_a =
        attend(a.config, perturbed(a, allowance_a, random), witness.input) - witness.output_a;
    const Matrix<double> moved_b =
        attend(b.config, perturbed(b, allowance_b, random), witness.input) - witness.output_b;
    largest = std::max(largest, safe_norm(moved_a - moved_b));
  }
  const double arithmetic = 1e-13 * (safe_norm(witness.output_a) + safe_norm(witness.output_b));
  return largest + arithmetic;
}

}  // namespace

double Witness::strength() const { return std::isfinite(gap) && gap > 0 ? gap / noise : 0; }

bool separates(const Witness& witness, double factor) {
  return witness.input.rows() >= 3 && witness.strength() >= factor && witness.apart_at_least > 0;
}

Witness measure(const StoredAttention& a, const StoredAttention& b, const Matrix<double>& input, int draws,
                std::uint64_t seed) {
  Witness witness{input, attend(a.config, a.weights, input), attend(b.config, b.weights, input)};
  witness.gap = safe_norm(witness.output_a - witness.output_b);
  witness.gap_at_least =
      distance_at_least(enclose_attend(taken_as_exact(a), input), enclose_attend(taken_as_exact(b), input));
  const Enclosure all_a = enclose_attend(a, input);
  const Enclosure all_b = enclose_attend(b, input);
  witness.apart_at_least = distance_at_least(all_a, all_b);
  witness.separation = largest_separation(all_a, all_b);
  witness.noise = drawn_noise(a, b, witness, draws, seed);
  return witness;
}

}  // namespace attnsym
