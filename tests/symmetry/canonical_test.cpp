// N6: the canonical form is constant on orbits, idempotent, function-preserving, and says where it is not
// firm.
#include "symmetry/canonical.hpp"

#include <gtest/gtest.h>

#include "symmetry/balance.hpp"
#include "symmetry/circuits.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "verify/testing/closeness.hpp"

namespace attnsym {
namespace {

using testing::close;
using testing::random_weights;

AttentionConfig config_of(Index h, Index g, bool qkv_bias, bool output_bias) {
  AttentionConfig c{12, h, g, 4, 3};
  c.query_bias = c.key_bias = c.value_bias = qkv_bias;
  c.output_bias = output_bias;
  c.scale = 0.5;
  return c;
}

// Differences are measured in double, whatever the scalar.
template <class S>
double difference(const Circuit<S>& a, const Circuit<S>& b) {
  const auto to_double = [](const Circuit<S>& c) {
    return Circuit<double>{c.left.template cast<double>(), c.right.template cast<double>()};
  };
  return difference_norms(to_double(a), to_double(b)).total;
}

template <class S>
class CanonicalForm : public ::testing::Test {};
using RealScalars = ::testing::Types<float, double, Float50>;
TYPED_TEST_SUITE(CanonicalForm, RealScalars);

const std::vector<AttentionConfig>& shapes() {
  static const std::vector<AttentionConfig> list{config_of(4, 4, true, true),  config_of(4, 4, false, false),
                                                 config_of(6, 2, true, true),  config_of(3, 1, false, true),
                                                 config_of(4, 2, true, false), config_of(1, 1, true, true)};
  return list;
}

TYPED_TEST(CanonicalForm, IsTheSameForTheWholeOrbit) {
  using S = TypeParam;
  std::uint64_t seed = 1;
  for (const AttentionConfig& c : shapes()) {
    const auto w = random_weights<S>(c, ++seed);
    Random random(seed);
    const auto element = symmetry_of(c).sample<S>(random);
    EXPECT_TRUE(close(canonicalize(w, c).weights, canonicalize(act(element, w), c).weights, 10))
        << "shape " << seed;
  }
}

TYPED_TEST(CanonicalForm, DiffersBetweenOrbits) {
  using S = TypeParam;
  for (const AttentionConfig& c : shapes()) {
    auto w = random_weights<S>(c, 3);
    const auto before = canonicalize(w, c).weights;
    w.groups[0].readers[0].query(0, 0) += S(0.1);
    EXPECT_FALSE(close(before, canonicalize(w, c).weights, 10));
  }
}

TYPED_TEST(CanonicalForm, IsIdempotent) {
  using S = TypeParam;
  for (const AttentionConfig& c : shapes()) {
    const auto once = canonicalize(random_weights<S>(c, 4), c).weights;
    EXPECT_TRUE(close(once, canonicalize(once, c).weights, 10));
  }
}

TYPED_TEST(CanonicalForm, IsReachedByTheElementItReturns) {
  using S = TypeParam;
  for (const AttentionConfig& c : shapes()) {
    const auto w = random_weights<S>(c, 5);
    const auto canonical = canonicalize(w, c);
    ASSERT_TRUE(canonical.canonical_from_input.has_value());
    ASSERT_TRUE(symmetry_of(c).contains(*canonical.canonical_from_input));
    EXPECT_TRUE(close(act(*canonical.canonical_from_input, w), canonical.weights, 10));
  }
}

TYPED_TEST(CanonicalForm, IsBalanced) {
  using S = TypeParam;
  const AttentionConfig c = config_of(4, 4, true, true);
  const auto canonical = canonicalize(random_weights<S>(c, 6), c);
  for (std::size_t j = 0; j < canonical.weights.groups.size(); ++j) {
    const auto& group = canonical.weights.groups[j];
    const Matrix<S> q = homogeneous(group.readers[0].query, group.readers[0].query_bias);
    const Matrix<S> sigma = canonical.margins[j].qk_sigma.asDiagonal();
    EXPECT_TRUE(is_close(Matrix<S>(group.key.transpose() * group.key), sigma, 10));
    EXPECT_TRUE(is_close(Matrix<S>(q.transpose() * q), sigma, 10));
    EXPECT_EQ(group.key_bias.norm(), S(0));
    EXPECT_EQ(group.value_bias.norm(), S(0));
  }
}

// Below full rank there is no group element, but the canonical weights are still the same function's.
TYPED_TEST(CanonicalForm, KeepsTheFunctionBelowFullRank) {
  using S = TypeParam;
  for (const bool output_bias : {true, false}) {
    const AttentionConfig c = config_of(2, 2, true, output_bias);
    auto w = random_weights<S>(c, 7);
    w.groups[0].key.col(1) = w.groups[0].key.col(0);
    w.groups[1].value.col(2) = w.groups[1].value.col(0);
    const auto canonical = canonicalize(w, c);
    const double circuit_tolerance = std::same_as<S, float> ? 1e-5 : 1e-13;
    EXPECT_FALSE(canonical.canonical_from_input.has_value());
    for (Index head = 0; head < 2; ++head) {
      const Index source = canonical.margins[head].group_in_input;
      EXPECT_LT(difference(qk_circuit(c, w, source), qk_circuit(c, canonical.weights, head)),
                circuit_tolerance);
      EXPECT_LT(difference(vo_circuit(c, w, source), vo_circuit(c, canonical.weights, head)),
                circuit_tolerance);
    }
    EXPECT_TRUE(is_close(constant_output(c, w), constant_output(c, canonical.weights), 10));
  }
}

// Equal singular values: any rotation of the two columns is balanced, the probe picks one.
TEST(Clusters, AreRotatedToTheSameForm) {
  const Matrix<double> left = Matrix<double>::Identity(5, 2);
  Matrix<double> right = Matrix<double>::Zero(4, 2);
  right(1, 0) = right(3, 1) = 1;
  const double angle = 0.7;
  Matrix<double> turn(2, 2);
  turn << std::cos(angle), -std::sin(angle), std::sin(angle), std::cos(angle);
  const Balanced<double> one = balance<double>(left, right, 1e-12);
  const Balanced<double> other = balance<double>(left * turn, right * turn, 1e-12);
  EXPECT_TRUE(is_close(one.right, other.right, 10));
  EXPECT_TRUE(is_close(one.left, other.left, 10));
}

// A cluster whose singular values are only nearly equal: rotated after scaling, so the circuit is kept [N6].
TEST(Clusters, KeepTheCircuitWhenValuesAreOnlyClose) {
  Matrix<double> left = Matrix<double>::Identity(5, 3);
  Matrix<double> right = fixed_probe<double>(4, 3, 2);
  const Circuit<double> before{left, right};
  const Balanced<double> wide = balance<double>(left, right, 0.5);
  EXPECT_LT(difference_norms(before, Circuit<double>{wide.left, wide.right}).total, 1e-14);
  ASSERT_TRUE(wide.linear.has_value());
  EXPECT_TRUE(is_close(Matrix<double>(right * wide.linear->matrix().transpose()), wide.right, 10));
}

// The order of two heads flips where their invariants meet, and there the margin vanishes.
TEST(Margins, TiesOfHeadsAreReported) {
  const AttentionConfig c = config_of(2, 2, true, true);
  const auto at = [&](double size) {
    auto w = random_weights<double>(c, 8);
    w.groups[1].readers[0].output *= size;
    return canonicalize(w, c).margins;
  };
  double low = -1000;
  double high = 1001;  // so that no step meets the head that adds nothing
  const Index first = at(low)[0].group_in_input;
  ASSERT_NE(first, at(high)[0].group_in_input);
  for (int step = 0; step < 70; ++step) {
    const double middle = (low + high) / 2;
    (at(middle)[0].group_in_input == first ? low : high) = middle;
  }
  EXPECT_LT(at(low)[0].order_margin, 1e-12);
  EXPECT_LT(at(low)[1].order_margin, 1e-12);
  EXPECT_GT(at(low + 0.1)[0].order_margin, 1e-6);
}

// The first-order estimate against noise that is really added.
TEST(ExpectedChange, PredictsTheChangeThatNoiseMakes) {
  const Balanced<double> before =
      balance<double>(fixed_probe<double>(60, 5, 1), fixed_probe<double>(50, 5, 2), 1e-12);
  const double phi = 1e-8;
  Random random(4);
  const auto noisy = [&](Matrix<double> m) {
    for (Index i = 0; i < m.size(); ++i) m.data()[i] += phi * random.normal();
    return m;
  };
  double change = 0;
  double moved = 0;
  for (int draw = 0; draw < 40; ++draw) {
    const Circuit<double> circuit{noisy(before.left), noisy(before.right)};
    const Balanced<double> after = balance<double>(circuit.left, circuit.right, 1e-12);
    change += (after.right - before.right).squaredNorm() + (after.left - before.left).squaredNorm();
    const double apart = difference_norms(circuit, {before.left, before.right}).total;
    moved += apart * apart;
  }
  const double measured = std::sqrt(change / 40 / (2 * before.sigma.sum()));
  const double relative_noise = std::sqrt(moved / 40) / before.sigma.norm();
  const double predicted = expected_change(before.sigma, 60, 50, relative_noise, 1e-12);
  EXPECT_GT(measured, 0.7 * predicted);
  EXPECT_LT(measured, 1.4 * predicted);
}

}  // namespace
}  // namespace attnsym
