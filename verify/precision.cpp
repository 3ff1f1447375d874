#include "verify/precision.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/random.hpp"
#include "verify/attend.hpp"
#include "verify/stored_circuit.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t tokens_salt = 0x6c6164646572;

// Relative to the outputs, what 100 digits may not show: they round, too.
constexpr double smallest_difference = 1e-97;

// Tokens that bring the logits of the first head to about 1, by a power of two, so that they are exact in
// float.
Matrix<double> ladder_tokens(const StoredAttention& module) {
  const StoredCircuit qk = stored_qk_circuit(module, 0);
  const double size = scaled_norm(qk);
  const double log_logit = size > 0 ? std::log2(size) + qk.exponent : 0;
  const Matrix<double> tokens = fixed_probe<double>(3, module.config.model_width, tokens_salt);
  return std::exp2(-std::round(log_logit / 2)) * tokens;
}

}  // namespace

double PrecisionLadder::slope() const {
  const Rung& low = rungs[1];
  const Rung& high = rungs.back();
  if (high.residual == 0) return 1;
  return std::log(high.residual / low.residual) / std::log(high.unit / low.unit);
}

bool PrecisionLadder::is_identity() const {
  constexpr double room = 1e10;
  const Rung& low = rungs[1];
  const Rung& high = rungs.back();
  return high.residual <= room * std::max(1.0, low.residual / low.unit) * high.unit;
}

std::string PrecisionLadder::reading() const {
  const double residual = rungs.back().residual;
  if (std::isnan(residual)) return "no reading: the outputs are not finite";
  if (!is_identity())
    return "the residual stays at " + brief(residual) + ": the stored numbers differ by that much";
  return "the residual falls with the precision: what is left is arithmetic, and no difference above " +
         brief(std::max(residual, smallest_difference)) + " of the outputs";
}

PrecisionLadder precision_ladder(const StoredAttention& a, const StoredAttention& b) {
  require_comparable(a, b);
  const Matrix<double> tokens = ladder_tokens(a);
  return climb([&]<RealScalar S>() {
    const Matrix<S> input = tokens.cast<S>();
    const Matrix<S> output_a = attend(a.config, cast<S>(a.weights), input);
    const Matrix<S> output_b = attend(b.config, cast<S>(b.weights), input);
    const S size = std::max(S(output_a.norm()), S(output_b.norm()));
    return size > 0 ? S((output_a - output_b).norm() / size) : S(0);
  });
}

}  // namespace attnsym
