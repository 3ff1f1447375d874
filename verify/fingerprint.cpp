#include "verify/fingerprint.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "symmetry/random.hpp"
#include "verify/rounding.hpp"

namespace attnsym {
namespace {

constexpr Index probe_count = 8;
constexpr std::uint64_t qk_salt = 0x6d61746368;
constexpr std::uint64_t vo_salt = qk_salt + 2;

class Probe {
 public:
  Probe(Index rows, Index columns, std::uint64_t salt)
      : left_(fixed_probe<double>(rows, probe_count, salt)),
        right_(fixed_probe<double>(columns, probe_count, salt + 1)) {}

  Fingerprint operator()(const StoredCircuit& circuit) const {
    const Circuit<double>& c = circuit.value;
    const Matrix<double> terms = (left_.transpose() * c.left).cwiseProduct(right_.transpose() * c.right);
    const double arithmetic = tolerance<double>() * c.left.norm() * c.right.norm();
    return {terms.rowwise().sum().transpose(), circuit.exponent,
            std::ldexp(rounding_noise(circuit), -circuit.exponent) + arithmetic};
  }

 private:
  Matrix<double> left_;
  Matrix<double> right_;
};

// A fixed weight for every harmonic, so that terms which trade places are noticed.
double weight_of(const Harmonic& harmonic) {
  Random random(std::bit_cast<std::uint64_t>(harmonic.frequency) + (harmonic.sine ? 1 : 0));
  return 1 + random.uniform() / 2;
}

// Both in units of the larger.
struct Common {
  RowVector<double> a;
  RowVector<double> b;
  double noise;

  Common(const Fingerprint& x, const Fingerprint& y) {
    const int exponent = std::max(x.exponent, y.exponent);
    const double factor_x = std::ldexp(1.0, x.exponent - exponent);
    const double factor_y = std::ldexp(1.0, y.exponent - exponent);
    a = factor_x * x.probes;
    b = factor_y * y.probes;
    noise = std::hypot(factor_x * x.noise, factor_y * y.noise);
  }
};

Fingerprint sum(const std::vector<Fingerprint>& terms, const std::vector<double>& weights) {
  int exponent = terms.front().exponent;
  for (const Fingerprint& term : terms) exponent = std::max(exponent, term.exponent);
  Fingerprint result{RowVector<double>::Zero(probe_count), exponent};
  for (std::size_t t = 0; t < terms.size(); ++t) {
    const double factor = std::ldexp(weights[t], terms[t].exponent - exponent);
    result.probes += factor * terms[t].probes;
    result.noise = std::hypot(result.noise, factor * terms[t].noise);
  }
  return result;
}

}  // namespace

std::vector<Fingerprint> qk_fingerprints(const StoredAttention& module) {
  const Index d = module.config.model_width;
  const Probe probe(d + 1, d + 1, qk_salt);
  std::vector<Fingerprint> result;
  for (Index head = 0; head < module.config.heads; ++head) {
    std::vector<Fingerprint> terms;
    std::vector<double> weights;
    for (const StoredTerm& term : stored_scores(module, head).terms) {
      terms.push_back(probe(term.circuit));
      weights.push_back(weight_of(term.harmonic));
    }
    result.push_back(sum(terms, weights));
  }
  return result;
}

std::vector<Fingerprint> vo_fingerprints(const StoredAttention& module) {
  const Index d = module.config.model_width;
  const Probe probe(d + 1, d, vo_salt);
  std::vector<Fingerprint> result;
  for (Index head = 0; head < module.config.heads; ++head)
    result.push_back(probe(stored_vo_circuit(module, head)));
  return result;
}

double relative_distance(const Fingerprint& a, const Fingerprint& b) {
  const Common common(a, b);
  const double size = common.a.squaredNorm() + common.b.squaredNorm();
  return size > 0 ? (common.a - common.b).squaredNorm() / size : 0;
}

bool may_agree(const Fingerprint& a, const Fingerprint& b, double limit) {
  // The entries of x and y are uniform on [-1, 1], so |x^T E y| is |E| / 3 on average and at most |E| where
  // one entry is all of E.
  const Common common(a, b);
  const double apart = (common.a - common.b).norm() / std::sqrt(static_cast<double>(probe_count));
  return apart <= 2 * limit * common.noise;
}

}  // namespace attnsym
