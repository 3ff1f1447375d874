#include "verify/residues.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/gauge_blocks.hpp"
#include "verify/stored_scores.hpp"

namespace attnsym {
namespace {

std::vector<std::uint64_t> random_residues(const Modulus& modulus, Index count, Random& random) {
  std::vector<std::uint64_t> result;
  // 64 random bits reduced modulo 61-bit primes favour no residue by more than a factor of 9 / 8.
  for (Index i = 0; i < count; ++i) result.push_back(modulus.of_integer(random.bits() % modulus.prime()));
  return result;
}

std::uint64_t prime_from(Random& random) {
  return random_prime([&] { return random.bits(); });
}

// The powers of two that all of a module's numbers are multiples of, and below.
struct Span {
  int lowest = 1100;
  int highest = -1100;

  void add(double value) {
    if (value == 0) return;
    int exponent = 0;
    std::frexp(value, &exponent);
    lowest = std::min(lowest, exponent - 53);
    highest = std::max(highest, exponent);
  }

  int bits() const { return std::max(0, highest - lowest); }
};

Span span_of(const StoredAttention& a, const StoredAttention& b) {
  Span span;
  for (const StoredAttention* module : {&a, &b}) {
    for_each_slot(module->weights, [&](const auto& slot) {
      for (Index i = 0; i < slot.size(); ++i) span.add(slot.data()[i]);
    });
  }
  return span;
}

}  // namespace

ResidueProbe::ResidueProbe(const AttentionConfig& a, const AttentionConfig& b, Random& random)
    : modulus_(prime_from(random)),
      query_probe_(random_residues(modulus_, a.model_width + 1, random)),
      key_probe_(random_residues(modulus_, a.model_width + 1, random)),
      value_probe_(random_residues(modulus_, a.model_width + 1, random)),
      output_probe_(random_residues(modulus_, a.model_width, random)),
      offsets_(random_residues(modulus_, 2, random)) {
  for (const AttentionConfig* config : {&a, &b}) {
    for (const GaugeBlock& block : gauge_blocks(*config)) {
      for (const bool sine : {false, true})
        harmonics_.try_emplace({block.frequency, sine}, random_residues(modulus_, 1, random).front());
    }
  }
}

// probe * weight, one residue per column; the probe may be longer than the columns.
ResidueProbe::Residues ResidueProbe::read(const Residues& probe, const Matrix<double>& weight) const {
  Residues result;
  for (Index column = 0; column < weight.cols(); ++column) {
    std::uint64_t sum = modulus_.zero();
    for (Index row = 0; row < weight.rows(); ++row)
      sum = modulus_.add(sum, modulus_.multiply(probe[row], modulus_.of_double(weight(row, column))));
    result.push_back(sum);
  }
  return result;
}

std::uint64_t ResidueProbe::dot(const Residues& x, const Residues& y) const {
  std::uint64_t sum = modulus_.zero();
  for (std::size_t i = 0; i < x.size(); ++i) sum = modulus_.add(sum, modulus_.multiply(x[i], y[i]));
  return sum;
}

// The score of one head. Scale and gain are multiplied in afterwards, because in double they would round.
std::uint64_t ResidueProbe::read(const StoredAttention& module, Index head) const {
  AttentionConfig unscaled = module.config;
  unscaled.scale = 1;
  unscaled.rotary.gain = 1;
  const std::uint64_t gain = modulus_.of_double(module.config.rotary.gain);
  std::uint64_t sum = modulus_.zero();
  for (const ScoreTerm<double>& term : score_terms(unscaled, module.weights, head)) {
    std::uint64_t value = dot(read(query_probe_, term.circuit.left), read(key_probe_, term.circuit.right));
    if (term.harmonic.frequency > 0) value = modulus_.multiply(value, modulus_.multiply(gain, gain));
    sum = modulus_.add(sum, modulus_.multiply(harmonics_.at(term.harmonic), value));
  }
  sum = modulus_.multiply(sum, modulus_.of_double(module.config.scale));
  const StoredScores scores = stored_scores(module, head);
  for (Index i = 0; i < scores.offsets.value.size(); ++i)
    sum = modulus_.add(sum, modulus_.multiply(offsets_[i], modulus_.of_double(scores.offsets.value(i))));
  return sum;
}

ModuleResidues ResidueProbe::operator()(const StoredAttention& module) const {
  const Residues bias_probe = {modulus_.one()};
  ModuleResidues result;
  result.constant = read(output_probe_, module.weights.output_bias.transpose()).front();
  for (Index head = 0; head < module.config.heads; ++head) {
    const Circuit<double> vo = vo_circuit(module.config, module.weights, head);
    const Residues outputs = read(output_probe_, vo.right);
    result.qk.push_back(read(module, head));
    result.vo.push_back(dot(read(value_probe_, vo.left), outputs));
    if (module.config.sinks) continue;
    const KvGroup<double>& group = module.weights.groups[head / module.config.readers_per_group()];
    result.constant = modulus_.add(result.constant, dot(read(bias_probe, group.value_bias), outputs));
  }
  return result;
}

double collision_probability(const StoredAttention& a, const StoredAttention& b) {
  // Entries of a difference of sums of products s q k are multiples of 2^(2 lowest - 1074) and, as integers,
  // below 2^bits; such a number has at most bits / 60 prime divisors above 2^60, of which there are more than
  // 2^54.
  const double terms =
      static_cast<double>(a.config.heads * std::max(a.config.key_width, a.config.value_width) +
                          b.config.heads * std::max(b.config.key_width, b.config.value_width));
  const double bits = 2 * span_of(a, b).bits() + 53 + std::abs(std::log2(std::abs(a.config.scale))) +
                      std::abs(std::log2(std::abs(b.config.scale))) + std::log2(terms) + 2;
  const double prime_divides = std::ceil(bits / 60) * 0x1p-54;
  const double probes_vanish =
      2 * 1.125 * 0x1p-60;  // a bilinear form; 1.125 for probes that are not quite uniform
  return prime_divides + probes_vanish;
}

}  // namespace attnsym
