// Exact mode against rational arithmetic, and its parts.
#include "verify/exact.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
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

}  // namespace
}  // namespace attnsym
