#include "verify/residues.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/distance_buckets.hpp"
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
      gate_probe_(random_residues(modulus_, a.model_width + 1, random)),
      output_probe_(random_residues(modulus_, a.model_width, random)),
      reach_(std::max(table_reach(a), table_reach(b))),
      offsets_(random_residues(modulus_, 2 + 2 * reach_ + 1, random)) {
  if (a.centred_inputs) {
    for (Residues* probe : {&query_probe_, &key_probe_, &value_probe_, &gate_probe_}) centre(*probe);
  }
  for (const AttentionConfig* config : {&a, &b}) {
    for (const GaugeBlock& block : gauge_blocks(*config)) {
      for (const bool sine : {false, true})
        harmonics_.try_emplace({block.frequency, sine}, random_residues(modulus_, 1, random).front());
    }
  }
}

// A random token whose entries add up to zero; the last number, for biases, stays.
void ResidueProbe::centre(Residues& probe) const {
  std::uint64_t sum = modulus_.zero();
  for (std::size_t i = 0; i + 2 < probe.size(); ++i) sum = modulus_.add(sum, probe[i]);
  probe[probe.size() - 2] = modulus_.negate(sum);
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
  sum = modulus_.add(sum, read_gates(module, head));
  return modulus_.add(sum, read_offsets(module, head));
}

// Of a module whose coordinates are written out: one gate a head.
std::uint64_t ResidueProbe::read_gates(const StoredAttention& module, Index head) const {
  if (!module.config.output_gate) return modulus_.zero();
  const QueryHead<double>& reader = module.weights.groups[head / module.config.readers_per_group()]
                                        .readers[head % module.config.readers_per_group()];
  return read(gate_probe_, homogeneous(reader.gate, reader.gate_bias)).front();
}

// Differences of tables would round in double.
std::uint64_t ResidueProbe::read_offsets(const StoredAttention& module, Index head) const {
  const AttentionConfig& config = module.config;
  const QueryHead<double>& reader =
      module.weights.groups[head / config.readers_per_group()].readers[head % config.readers_per_group()];
  const StoredOffsets offsets = stored_offsets(module, head);
  std::uint64_t sum = dot({offsets_[0], offsets_[1]},
                          {modulus_.of_double(offsets.value(0)), modulus_.of_double(offsets.value(1))});
  if (config.distance_buckets.empty()) return sum;
  const auto number = [&](Index offset) {
    return modulus_.of_double(reader.distance_bias(config.bucket(offset)));
  };
  const std::uint64_t here = table_shift_is_free(config) ? modulus_.negate(number(0)) : modulus_.zero();
  for (Index offset = -reach_; offset <= reach_; ++offset) {
    if (!config.shows(offset)) continue;
    const std::uint64_t relative = modulus_.add(number(offset), here);
    sum = modulus_.add(sum, modulus_.multiply(offsets_[2 + reach_ + offset], relative));
  }
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
    if (module.config.value_bias_counts()) continue;
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
