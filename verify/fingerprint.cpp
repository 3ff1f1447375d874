#include "verify/fingerprint.hpp"

#include <algorithm>
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

std::vector<Fingerprint> fingerprints(const StoredAttention& module, const Probe& probe,
                                      StoredCircuit (*circuit)(const StoredAttention&, Index)) {
  std::vector<Fingerprint> result;
  for (Index head = 0; head < module.config.heads; ++head) result.push_back(probe(circuit(module, head)));
  return result;
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

}  // namespace

std::vector<Fingerprint> qk_fingerprints(const StoredAttention& module) {
  const Index d = module.config.model_width;
  return fingerprints(module, Probe(d + 1, d, qk_salt), stored_qk_circuit);
}

std::vector<Fingerprint> vo_fingerprints(const StoredAttention& module) {
  const Index d = module.config.model_width;
  return fingerprints(module, Probe(d, d, vo_salt), stored_vo_circuit);
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
