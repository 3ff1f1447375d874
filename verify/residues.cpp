#include "verify/residues.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/distance_buckets.hpp"
#include "symmetry/gains.hpp"
#include "verify/stored_scores.hpp"

namespace attnsym {
namespace {

std::vector<std::uint64_t> random_residues(const Modulus& modulus, Index count, HashedRandom& random) {
  std::vector<std::uint64_t> result;
  // 64 random bits reduced modulo 61-bit primes favour no residue by more than a factor of 9 / 8.
  for (Index i = 0; i < count; ++i) result.push_back(modulus.of_integer(random.bits() % modulus.prime()));
  return result;
}

std::uint64_t prime_from(HashedRandom& random) {
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

ResidueProbe::ResidueProbe(const AttentionConfig& a, const AttentionConfig& b, HashedRandom& random)
    : modulus_(prime_from(random)),
      query_probe_(random_residues(modulus_, a.model_width + 1, random)),
      key_probe_(random_residues(modulus_, a.model_width + 1, random)),
      value_probe_(random_residues(modulus_, a.model_width + 1, random)),
      gate_probe_(random_residues(modulus_, a.model_width + 1, random)),
      output_probe_(random_residues(modulus_, a.model_width, random)),
      reach_(std::max(table_reach(a), table_reach(b))),
      offsets_(random_residues(modulus_, 2 + 2 * reach_ + 1, random)),
      lengths_(random_residues(modulus_, 2, random)) {
  if (a.centred_inputs) {
    for (Residues* probe : {&query_probe_, &key_probe_, &value_probe_, &gate_probe_}) centre(*probe);
  }
  for (const AttentionConfig* config : {&a, &b}) {
    for (const GaugeBlock& block : gauge_blocks(*config)) {
      for (const bool sine : {false, true})
        harmonics_.try_emplace({block.frequency, block.beyond, sine},
                               random_residues(modulus_, 1, random).front());
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

// What a probe of a term's columns has to be multiplied by for the gain of a norm. Turned columns have a
// sign, which is there already.
ResidueProbe::Residues ResidueProbe::times_gain(Residues residues, const RowVector<double>& gain,
                                                const GaugeBlock& block, bool turned) const {
  const Matrix<double> columns = block_columns<double>(gain, block, turned);
  const Matrix<double> signs = block_columns<double>(RowVector<double>::Ones(gain.size()), block, turned);
  for (std::size_t k = 0; k < residues.size(); ++k) {
    const auto column = static_cast<Index>(k);
    residues[k] = modulus_.multiply(residues[k], modulus_.of_double(columns(column) * signs(column)));
  }
  return residues;
}

// The terms of the score of one head. Scale and gains are multiplied in afterwards, because in double they
// would round.
std::uint64_t ResidueProbe::read_terms(const StoredAttention& module, Index head) const {
  AttentionConfig unscaled = module.config;
  unscaled.scale = 1;
  unscaled.rotary.gain = 1;
  const Index group = head / module.config.readers_per_group();
  const std::uint64_t gain = modulus_.of_double(module.config.rotary.gain);
  const std::vector<ScoreTerm<double>> terms = score_terms(unscaled, module.weights, head);
  auto term = terms.begin();
  std::uint64_t sum = modulus_.zero();
  for (const GaugeBlock& block : gauge_blocks(unscaled)) {
    for (const bool turned : {false, true}) {
      if (turned && !block.is_complex()) continue;
      Residues queries = read(query_probe_, term->circuit.left);
      Residues keys = read(key_probe_, term->circuit.right);
      if (module.config.qk_norm) {
        queries =
            times_gain(std::move(queries), query_gain(module.weights, module.config, head), block, turned);
        keys = times_gain(std::move(keys), key_gain(module.weights, module.config, group), block, false);
      }
      std::uint64_t value = dot(queries, keys);
      if (block.frequency > 0) value = modulus_.multiply(value, modulus_.multiply(gain, gain));
      sum = modulus_.add(sum, modulus_.multiply(harmonics_.at(term->harmonic), value));
      ++term;
    }
  }
  return modulus_.multiply(sum, modulus_.of_double(module.config.scale));
}

// A norm over all keys counts those of a group once for every reader.
ResidueProbe::Lengths ResidueProbe::lengths_of(const StoredAttention& module) const {
  Lengths lengths;
  if (!module.config.qk_norm) return lengths;
  const auto square = [&](const Residues& probe, const Matrix<double>& weight,
                          const RowVector<double>& bias) {
    const Residues seen = read(probe, homogeneous(weight, bias));
    return dot(seen, seen);
  };
  for (const KvGroup<double>& group : module.weights.groups) {
    lengths.keys.push_back(square(key_probe_, group.key, group.key_bias));
    for (const QueryHead<double>& reader : group.readers)
      lengths.queries.push_back(square(query_probe_, reader.query, reader.query_bias));
  }
  if (!module.config.qk_norm->over_all_heads) return lengths;
  const auto total = [&](Residues& all, Index times) {
    std::uint64_t sum = modulus_.zero();
    for (const std::uint64_t one : all) sum = modulus_.add(sum, one);
    sum = modulus_.multiply(sum, modulus_.of_integer(static_cast<std::uint64_t>(times)));
    std::ranges::fill(all, sum);
  };
  total(lengths.queries, 1);
  total(lengths.keys, module.config.readers_per_group());
  return lengths;
}

// With n numbers behind a norm, terms / ((q^2 / n + epsilon) (k^2 / n + epsilon))^(1/2) is the score: equal
// terms and squares, times n and 1, and all over n epsilon unless that is 0, make equal scores [N5].
std::uint64_t ResidueProbe::normalised(std::uint64_t terms, const StoredAttention& module, Index head,
                                       const Lengths& lengths) const {
  const AttentionConfig& config = module.config;
  if (!config.qk_norm) return terms;
  const std::uint64_t n = modulus_.of_integer(
      static_cast<std::uint64_t>(config.key_width * (config.qk_norm->over_all_heads ? config.heads : 1)));
  const std::uint64_t squares =
      dot(lengths_, {lengths.queries[head], lengths.keys[head / config.readers_per_group()]});
  const std::uint64_t sum = modulus_.add(modulus_.multiply(n, terms), squares);
  if (config.qk_norm->epsilon == 0) return sum;
  const std::uint64_t unit = modulus_.multiply(n, modulus_.of_double(config.qk_norm->epsilon));
  return modulus_.multiply(sum, modulus_.power(unit, modulus_.prime() - 2));
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
  const Lengths lengths = lengths_of(module);
  result.constant = read(output_probe_, module.weights.output_bias.transpose()).front();
  for (Index head = 0; head < module.config.heads; ++head) {
    const Circuit<double> vo = vo_circuit(module.config, module.weights, head);
    const Residues outputs = read(output_probe_, vo.right);
    std::uint64_t score = normalised(read_terms(module, head), module, head, lengths);
    score = modulus_.add(score, read_gates(module, head));
    result.qk.push_back(modulus_.add(score, read_offsets(module, head)));
    result.vo.push_back(dot(read(value_probe_, vo.left), outputs));
    if (module.config.value_bias_counts()) continue;
    const KvGroup<double>& group = module.weights.groups[head / module.config.readers_per_group()];
    result.constant = modulus_.add(result.constant, dot(read(bias_probe, group.value_bias), outputs));
  }
  return result;
}

namespace {

// Bits of the integers that two numbers of a config, raised to a power, are times a power of two.
double bits_of(double x, double y, int power) {
  if (x == 1 && y == 1) return 0;
  return power * (53 + std::abs(std::log2(std::abs(x))) + std::abs(std::log2(std::abs(y))));
}

// The same of the coefficients of a difference of scores: sums of products s q k, of a pair of rotary
// coordinates times the square of its gain. With norms these are products of four numbers, gains among them,
// times n and epsilon of the other module.
double bits_of_scores(const StoredAttention& a, const StoredAttention& b, const Span& span, double terms) {
  double bits = (a.config.qk_norm ? 4 : 2) * span.bits() + bits_of(a.config.scale, b.config.scale, 1) +
                bits_of(a.config.rotary.gain, b.config.rotary.gain, 2);
  for (const StoredAttention* module : {&a, &b}) {
    if (!module->config.qk_norm) continue;
    bits += std::log2(terms);
    const double epsilon = module->config.qk_norm->epsilon;
    if (epsilon > 0) bits += bits_of(epsilon, 1, 1);
  }
  return bits;
}

// Of a difference of constants: output biases are single numbers beside products.
double bits_of_constants(const Span& span) {
  return std::max(span.highest, 2 * span.highest) - std::min(span.lowest, 2 * span.lowest);
}

// Of differences of slopes, which are no weights.
double bits_of_slopes(const StoredAttention& a, const StoredAttention& b) {
  Span span;
  for (const StoredAttention* module : {&a, &b}) {
    for (const double slope : module->config.slopes) span.add(slope);
  }
  return span.bits();
}

}  // namespace

double collision_probability(const StoredAttention& a, const StoredAttention& b) {
  // Coefficients of a difference are, up to a power of two, integers below 2^bits; such a number has at most
  // bits / 60 prime divisors above 2^60, of which there are more than 2^54.
  const auto terms = static_cast<double>(a.config.heads * std::max(a.config.key_width, a.config.value_width) +
                                         b.config.heads * std::max(b.config.key_width, b.config.value_width));
  const Span span = span_of(a, b);
  const double bits =
      std::max({bits_of_scores(a, b, span, terms), bits_of_constants(span), bits_of_slopes(a, b)}) +
      std::log2(terms) + 2;
  const double prime_divides = std::ceil(bits / 60) * 0x1p-54;
  // A polynomial of degree 3, in a probe of each side and the multiples of terms; 1.125 for probes that are
  // not quite uniform.
  const double probes_vanish = 3 * 1.125 * 0x1p-60;
  return prime_divides + probes_vanish;
}

}  // namespace attnsym
