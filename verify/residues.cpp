#include "verify/residues.hpp"

#include <algorithm>
#include <cmath>

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

ResidueProbe::ResidueProbe(Index model_width, Random& random)
    : modulus_(prime_from(random)),
      query_probe_(random_residues(modulus_, model_width + 1, random)),
      key_probe_(random_residues(modulus_, model_width, random)),
      value_probe_(random_residues(modulus_, model_width, random)),
      output_probe_(random_residues(modulus_, model_width, random)) {}

// probe * [weight; bias], one residue per column.
ResidueProbe::Residues ResidueProbe::read(const Residues& probe, const Matrix<double>& weight,
                                          const RowVector<double>& bias) const {
  Residues result;
  for (Index column = 0; column < weight.cols(); ++column) {
    std::uint64_t sum = modulus_.zero();
    for (Index row = 0; row < weight.rows(); ++row)
      sum = modulus_.add(sum, modulus_.multiply(probe[row], modulus_.of_double(weight(row, column))));
    if (bias.size() > 0)
      sum = modulus_.add(sum, modulus_.multiply(probe[weight.rows()], modulus_.of_double(bias(column))));
    result.push_back(sum);
  }
  return result;
}

std::uint64_t ResidueProbe::dot(const Residues& x, const Residues& y) const {
  std::uint64_t sum = modulus_.zero();
  for (std::size_t i = 0; i < x.size(); ++i) sum = modulus_.add(sum, modulus_.multiply(x[i], y[i]));
  return sum;
}

ModuleResidues ResidueProbe::operator()(const StoredAttention& module) const {
  const RowVector<double> none;
  const std::uint64_t scale = modulus_.of_double(module.config.scale);
  ModuleResidues result;
  const Matrix<double> output_bias = module.weights.output_bias.transpose();
  result.constant = read(output_probe_, output_bias, none).front();
  for (const KvGroup<double>& group : module.weights.groups) {
    const Residues keys = read(key_probe_, group.key, none);
    const Residues values = read(value_probe_, group.value, none);
    Residues value_bias;
    for (Index k = 0; k < group.value_bias.size(); ++k)
      value_bias.push_back(modulus_.of_double(group.value_bias(k)));
    for (const QueryHead<double>& reader : group.readers) {
      const Residues queries = read(query_probe_, reader.query, reader.query_bias);
      const Residues outputs = read(output_probe_, reader.output.transpose(), none);
      result.qk.push_back(modulus_.multiply(scale, dot(queries, keys)));
      result.vo.push_back(dot(values, outputs));
      result.constant = modulus_.add(result.constant, dot(value_bias, outputs));
    }
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
