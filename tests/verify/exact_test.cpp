// Exact mode against rational arithmetic, and its parts.
#include "verify/exact.hpp"

#include <gtest/gtest.h>

#include <boost/multiprecision/cpp_int.hpp>
#include <limits>
#include <map>
#include <set>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"
#include "verify/decide.hpp"
#include "verify/hashed_random.hpp"
#include "verify/modular.hpp"
#include "verify/residues.hpp"

namespace attnsym {
namespace {

using testing::f32;
using testing::random_weights;
using testing::stored;

TEST(Modulus, AgreesWithIntegerArithmetic) {
  constexpr std::uint64_t p = (std::uint64_t{1} << 61U) - 1;
  const Modulus modulus(p);
  Random random(1);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t x = random.bits() % p;
    const std::uint64_t y = random.bits() % p;
    const auto product = static_cast<std::uint64_t>(static_cast<Wide>(x) * y % p);
    EXPECT_EQ(modulus.multiply(modulus.of_integer(x), modulus.of_integer(y)), modulus.of_integer(product));
    EXPECT_EQ(modulus.add(modulus.of_integer(x), modulus.of_integer(y)), modulus.of_integer((x + y) % p));
  }
}

TEST(Modulus, HoldsDoublesExactly) {
  const Modulus modulus((std::uint64_t{1} << 61U) - 1);
  const auto residue = [&](double x) { return modulus.of_double(x); };
  EXPECT_EQ(residue(3), modulus.of_integer(3));
  EXPECT_EQ(residue(0), modulus.zero());
  EXPECT_EQ(residue(-0.0), modulus.zero());
  EXPECT_EQ(modulus.add(residue(-7.25), residue(7.25)), modulus.zero());
  EXPECT_EQ(modulus.multiply(residue(0.375), residue(8)), modulus.of_integer(3));
  EXPECT_EQ(modulus.multiply(residue(0x1.8p-1000), residue(0x1p1001)), modulus.of_integer(3));
  const double least = std::numeric_limits<double>::denorm_min();
  EXPECT_EQ(modulus.add(residue(least), residue(least)), residue(2 * least));
  EXPECT_EQ(modulus.multiply(residue(0x1p52 * least), residue(0x1p1022)), modulus.one());
  EXPECT_EQ(modulus.add(residue(1e308), residue(1e308)), modulus.multiply(residue(2), residue(1e308)));
}

TEST(Prime, IsTold) {
  for (const std::uint64_t prime : {2UL, 3UL, 37UL, 41UL, 1000003UL, (1UL << 61U) - 1, 1152921504606847009UL})
    EXPECT_TRUE(is_prime(prime)) << prime;
  for (const std::uint64_t composite :
       {0UL, 1UL, 4UL, 1001UL, 3215031751UL, 1000003UL * 1000033UL, (1UL << 60U) - 1})
    EXPECT_FALSE(is_prime(composite)) << composite;
  Random random(1);
  const std::uint64_t prime = random_prime([&] { return random.bits(); });
  EXPECT_TRUE(is_prime(prime));
  EXPECT_GT(prime, std::uint64_t{1} << 60U);
}

// The reduced form by rational arithmetic: the sum of N over the heads with each M, zero sums left out.
using RationalKey = std::vector<Rational>;

RationalKey entries(const Circuit<Rational>& circuit) {
  const Matrix<Rational> product = circuit.left * circuit.right.transpose();
  return {product.data(), product.data() + product.size()};
}

std::map<RationalKey, RationalKey> reduced(const AttentionConfig& c, const AttentionWeights<Rational>& w) {
  std::map<RationalKey, RationalKey> mu;
  for (Index head = 0; head < c.heads; ++head) {
    const RationalKey n = entries(vo_circuit(c, w, head));
    RationalKey& sum = mu.try_emplace(entries(qk_circuit(c, w, head)), n.size(), Rational(0)).first->second;
    for (std::size_t i = 0; i < n.size(); ++i) sum[i] += n[i];
  }
  std::erase_if(mu, [](const auto& atom) {
    return std::all_of(atom.second.begin(), atom.second.end(), [](const Rational& x) { return x == 0; });
  });
  return mu;
}

bool equal_by_rationals(const StoredAttention& a, const StoredAttention& b) {
  const AttentionWeights<Rational> x = cast<Rational>(a.weights);
  const AttentionWeights<Rational> y = cast<Rational>(b.weights);
  const auto mu_a = reduced(a.config, x);
  const auto mu_b = reduced(b.config, y);
  if (a.config.causal != b.config.causal && !(mu_a.empty() && mu_b.empty())) return false;
  return mu_a == mu_b && constant_output(a.config, x) == constant_output(b.config, y);
}

// Small modules over small integers: coincident circuits, dead heads and equal functions are common.
StoredAttention small_module(Random& random) {
  const Index groups = 1 + random.below(2);
  AttentionConfig c{1 + random.below(2), groups * (1 + random.below(2)), groups, 1 + random.below(2),
                    1 + random.below(2)};
  c.causal = random.below(4) == 0;
  c.scale = random.below(2) == 0 ? 1 : 0.5;
  c.query_bias = random.below(2) == 0;
  c.key_bias = random.below(2) == 0;
  c.value_bias = random.below(2) == 0;
  c.output_bias = random.below(2) == 0;
  AttentionWeights<double> w = random_weights<double>(c, random.bits());
  for_each_slot(w, [&](auto& slot) {
    for (Index i = 0; i < slot.size(); ++i) slot.data()[i] = static_cast<double>(random.below(3) - 1);
  });
  return stored(c, w, f32);
}

TEST(Exact, AgreesWithRationalArithmetic) {
  Random random(11);
  int equal = 0;
  int cases = 0;
  while (cases < 1000) {
    const StoredAttention a = small_module(random);
    StoredAttention b = small_module(random);
    if (random.below(2) ==
        0) {  // half of the pairs are moved by a monomial element, so that equality is common
      SampleOptions monomial;
      monomial.monomial = true;
      b = a;
      b.weights = act(symmetry_of(a.config).sample<double>(random, monomial), a.weights);
    }
    if (a.config.model_width != b.config.model_width) continue;
    ++cases;
    const bool truth = equal_by_rationals(a, b);
    const ExactDecision decision = decide_exactly(a, b, random.bits());
    const std::string verdict = name_of(decision.verdict);
    EXPECT_EQ(verdict == "identical" || verdict == "equivalent", truth) << verdict;
    EXPECT_NE(verdict, "undecided");
    EXPECT_EQ(refute_exact_equality(a, b, decision.classes, random.bits()) == std::nullopt, truth);
    equal += truth ? 1 : 0;
  }
  EXPECT_GT(equal, 200) << "equality has to be common for this to show anything";
  EXPECT_LT(equal, 800);
}

AttentionConfig plain_config() {
  AttentionConfig c{16, 3, 3, 4, 4};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
  return c;
}

TEST(Exact, SeesTheLastBit) {
  for (const double unit : {f32, 0x1p-53}) {
    const StoredAttention a = stored(plain_config(), random_weights<double>(plain_config(), 1), unit);
    StoredAttention b = a;
    double& weight = b.weights.groups[1].value(2, 3);
    weight *= 1 + 2 * unit;
    ASSERT_NE(weight, a.weights.groups[1].value(2, 3));
    const ExactDecision decision = decide_exactly(a, b, 1);
    ASSERT_STREQ(name_of(decision.verdict), "distinct");
    EXPECT_GT(std::get<Distinct>(decision.verdict).witness.gap_at_least, 0);
    EXPECT_NE(refute_exact_equality(a, b, decision.classes, 2), std::nullopt);
  }
}

TEST(Exact, StatesTheErrorProbabilityOfEqual) {
  const StoredAttention a = stored(plain_config(), random_weights<double>(plain_config(), 1), f32);
  StoredAttention b = a;  // a dead head more: equal, but by no gauge
  b.config.heads = b.config.groups = 4;
  b.weights.groups.push_back(a.weights.groups[0]);
  b.weights.groups.back().readers[0].output.setZero();
  b.radius.groups.push_back(b.radius.groups[0]);
  const ExactDecision decision = decide_exactly(a, b, 1);
  EXPECT_STREQ(name_of(decision.verdict), "equivalent");
  EXPECT_GT(decision.error_probability, 0);
  EXPECT_LT(decision.error_probability, 0x1p-90);
  EXPECT_LT(collision_probability(a, b), 0x1p-50);
}

// How many primes above 2^60 may divide the numerator of a fraction whose denominator is a power of two.
double large_primes_of(const Rational& number) {
  boost::multiprecision::cpp_int numerator = abs(boost::multiprecision::numerator(number));
  numerator >>= boost::multiprecision::lsb(numerator);
  return std::floor(static_cast<double>(boost::multiprecision::msb(numerator)) / 60);
}

// The bound of the probability counts all primes that may divide a difference: of scores, which the gain of
// rotary positions enters squared, and of constants, where output biases stand beside products.
TEST(Exact, CountsThePrimesThatMayDivide) {
  AttentionConfig c{1, 1, 1, 2, 1};
  c.rotary = {{1.0}, PairLayout::HalfSplit, 1.3};
  c.scale = 0.7;
  c.value_bias = c.output_bias = true;
  const double big = 0x1.fffffffffffffp600;
  AttentionWeights<double> w = random_weights<double>(c, 1);
  for_each_slot(w, [&](auto& slot) { slot.setConstant(1.1); });
  const StoredAttention plain = stored(c, w, 0x1p-53);
  const Rational gain(c.rotary.gain);
  const Rational score = Rational(c.scale) * gain * gain * Rational(1.1) * Rational(1.1);
  EXPECT_GE(collision_probability(plain, plain), large_primes_of(score) * 0x1p-54);
  w.output_bias.setConstant(big);
  for_each_slot(w, [&](auto& slot) { slot.setConstant(big); });
  const StoredAttention large = stored(c, w, 0x1p-53);
  const Rational constant = Rational(big) + Rational(big) * Rational(big);
  EXPECT_GT(large_primes_of(constant), 9);
  EXPECT_GE(collision_probability(large, large), large_primes_of(constant) * 0x1p-54);
  EXPECT_LT(collision_probability(large, large), 0x1p-49);
}

std::uint64_t first_bits(const StoredAttention& a, const StoredAttention& b, std::uint64_t seed) {
  return HashedRandom(seed, "exact mode", {digest_of(a), digest_of(b)}).bits();
}

TEST(HashedRandom, DependsOnEveryInputAndReproduces) {
  const StoredAttention a = stored(plain_config(), random_weights<double>(plain_config(), 1), f32);
  std::vector<StoredAttention> others(4, a);
  others[0].weights.groups[2].readers[0].output(3, 15) *= -1;
  double& number = others[1].weights.output_bias(0);
  number = std::nextafter(number, 2);
  others[2].config.scale *= 2;
  others[3].config.rotary.frequencies = {0.5};
  EXPECT_EQ(first_bits(a, a, 1), first_bits(a, StoredAttention(a), 1));
  EXPECT_NE(first_bits(a, a, 1), first_bits(a, a, 2));
  for (const StoredAttention& other : others) {
    EXPECT_NE(first_bits(a, a, 1), first_bits(a, other, 1));
    EXPECT_NE(first_bits(a, a, 1), first_bits(other, a, 1));
  }
  HashedRandom one(1, "one", {});
  HashedRandom two(1, "two", {});
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    seen.insert(one.bits());
    seen.insert(two.bits());
  }
  EXPECT_EQ(seen.size(), 2000U);
}

// The primes of exact mode for two modules, which are anybody's to compute who knows the seed.
std::vector<std::uint64_t> primes_of(const StoredAttention& a, const StoredAttention& b, std::uint64_t seed) {
  HashedRandom random(seed, "exact mode", {digest_of(a), digest_of(b)});
  std::vector<std::uint64_t> primes;
  for (int i = 0; i < 2; ++i) primes.push_back(ResidueProbe(a.config, b.config, random).modulus().prime());
  return primes;
}

// Whoever knows the seed knows the primes of A and B, and can make a C that differs from B by their product:
// but A and C have other primes.
TEST(Exact, AKnownSeedDoesNotGivePrimesAway) {
  using boost::multiprecision::cpp_int;
  AttentionConfig c{2, 1, 1, 1, 4};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
  constexpr std::uint64_t seed = 7;
  StoredAttention a = stored(c, random_weights<double>(c, 1), f32);
  KvGroup<double>& group = a.weights.groups[0];
  group.value.rightCols(3) << 0x1p106, 0x1p53, 1, 0, 0, 0;
  group.readers[0].output.bottomRows(3).setZero();
  const std::vector<std::uint64_t> primes = primes_of(a, a, seed);
  const cpp_int product = cpp_int(primes[0]) * primes[1];
  const cpp_int low = (cpp_int(1) << 53) - 1;
  StoredAttention forged = a;
  auto& output = forged.weights.groups[0].readers[0].output;
  for (int digit = 0; digit < 3; ++digit)
    output(3 - digit, 0) = static_cast<double>(cpp_int((product >> (53 * digit)) & low));
  for (const std::uint64_t prime : primes) {
    const Modulus modulus(prime);
    std::uint64_t difference = modulus.zero();
    for (Index k = 1; k < 4; ++k)
      difference = modulus.add(difference, modulus.multiply(modulus.of_double(group.value(0, k)),
                                                            modulus.of_double(output(k, 0))));
    ASSERT_EQ(difference, modulus.zero()) << "the forgery suits the primes of A and A";
  }
  EXPECT_NE(primes_of(a, forged, seed), primes);
  const ExactDecision decision = decide_exactly(a, forged, seed);
  EXPECT_STREQ(name_of(decision.verdict), "distinct");
  EXPECT_TRUE(refute_exact_equality(a, forged, {{{0}, {0}}}, seed));
}

}  // namespace
}  // namespace attnsym
