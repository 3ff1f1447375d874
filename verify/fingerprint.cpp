#include "verify/fingerprint.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>

#include "symmetry/gauge_blocks.hpp"
#include "symmetry/random.hpp"
#include "verify/rounding.hpp"
#include "verify/stored_factors.hpp"

namespace attnsym {
namespace {

constexpr Index probe_count = 8;
constexpr std::uint64_t qk_salt = 0x6d61746368;
constexpr std::uint64_t vo_salt = qk_salt + 2;

// The entries x_t^T C y_t of a circuit whose factors are x_t^T left and y_t^T right.
Fingerprint of_probed(const Circuit<double>& probed) {
  const Matrix<double> none = Matrix<double>::Zero(probe_count, probed.left.cols());
  const StoredCircuit circuit = normalized(probed, {none, none});
  return {circuit.value.left.cwiseProduct(circuit.value.right).rowwise().sum().transpose(), circuit.exponent};
}

// probe^T (weight over bias), without copying the weight.
Matrix<double> probed(const Matrix<double>& probe, const Matrix<double>& weight,
                      const RowVector<double>& bias) {
  Matrix<double> result = probe.topRows(weight.rows()).transpose() * weight;
  if (bias.size() > 0) result += probe.bottomRows(1).transpose() * bias;
  return result;
}

// A fixed weight for every harmonic, so that terms which trade places are noticed.
double weight_of(const Harmonic& harmonic) {
  Random random(std::bit_cast<std::uint64_t>(harmonic.frequency) +
                3 * std::bit_cast<std::uint64_t>(harmonic.beyond) + (harmonic.sine ? 1 : 0));
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
  for (std::size_t t = 0; t < terms.size(); ++t)
    result.probes += std::ldexp(weights[t], terms[t].exponent - exponent) * terms[t].probes;
  return result;
}

// Biases of keys where they count, else zeros.
RowVector<double> counting_bias(const RowVector<double>& bias, const std::vector<bool>& free) {
  RowVector<double> result = bias;
  for (Index k = 0; k < result.size(); ++k) {
    if (free[k]) result(k) = 0;
  }
  return result;
}

}  // namespace

// Scores are the same function of probed queries and keys as of all of them.
std::vector<Fingerprint> qk_fingerprints(const StoredAttention& module) {
  const Index d = module.config.model_width;
  const Matrix<double> left = fixed_probe<double>(d + 1, probe_count, qk_salt);
  const Matrix<double> right = fixed_probe<double>(d + 1, probe_count, qk_salt + 1);
  const std::vector<bool> free = free_key_biases(module.config);
  AttentionConfig config = module.config;
  config.key_bias = false;
  AttentionWeights<double> small;
  std::optional<AttentionWeights<double>> gained;
  if (module.config.qk_norm) gained = with_gains(module);
  const AttentionWeights<double>& weights = gained ? *gained : module.weights;
  for (const KvGroup<double>& group : weights.groups) {
    small.groups.push_back({probed(right, group.key, counting_bias(group.key_bias, free)), {}, {}, {}, {}});
    for (const QueryHead<double>& reader : group.readers)
      small.groups.back().readers.push_back({probed(left, reader.query, reader.query_bias), {}, {}});
  }
  std::vector<Fingerprint> result;
  for (Index head = 0; head < config.heads; ++head) {
    std::vector<Fingerprint> terms;
    std::vector<double> shares;
    for (const ScoreTerm<double>& term : score_terms(config, small, head)) {
      const auto [queries, keys] = term.circuit;
      terms.push_back(of_probed({queries.topRows(probe_count), keys}));
      shares.push_back(weight_of(term.harmonic));
    }
    result.push_back(sum(terms, shares));
  }
  return result;
}

std::vector<Fingerprint> vo_fingerprints(const StoredAttention& module) {
  const Index d = module.config.model_width;
  const Matrix<double> left = fixed_probe<double>(d + 1, probe_count, vo_salt);
  const Matrix<double> right = fixed_probe<double>(d, probe_count, vo_salt + 1);
  std::vector<Fingerprint> result;
  for (const KvGroup<double>& group : module.weights.groups) {
    const Matrix<double> values =
        probed(left, group.value, module.config.value_bias_counts() ? group.value_bias : RowVector<double>());
    for (const QueryHead<double>& reader : group.readers)
      result.push_back(of_probed({values, (reader.output * right).transpose()}));
  }
  return result;
}

void note_noise(Fingerprint& print, const StoredScores& scores) {
  for (const StoredTerm& term : scores.terms) {
    const StoredCircuit& circuit = term.circuit;
    const double arithmetic = tolerance<double>() * circuit.value.left.norm() * circuit.value.right.norm();
    const double noise = std::ldexp(rounding_noise(circuit), -circuit.exponent) + arithmetic;
    print.noise = std::hypot(print.noise,
                             std::ldexp(weight_of(term.harmonic) * noise, circuit.exponent - print.exponent));
  }
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
