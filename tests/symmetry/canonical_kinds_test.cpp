// The canonical form of every kind of attention [N5, N6].
#include <gtest/gtest.h>

#include "symmetry/canonical.hpp"
#include "symmetry/centred.hpp"
#include "symmetry/distance_buckets.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/support/attention_kinds.hpp"
#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"
#include "verify/testing/closeness.hpp"

namespace attnsym {
namespace {

using testing::attention_kinds;
using testing::AttentionKind;
using testing::random_weights;

double distance(const AttentionWeights<double>& a, const AttentionWeights<double>& b) {
  const RowVector<double> x = testing::flat(a);
  return (x - testing::flat(b)).norm() / x.norm();
}

AttentionElement<double> sample(const AttentionConfig& c) {
  Random random(11);
  return symmetry_of(c).sample<double>(random);
}

// Without an output bias values take their bias along, and shifts in the kernel of the outputs are not drawn.
TEST(CanonicalKinds, OneFormForTheOrbitWithTheSameFunction) {
  const Matrix<double> tokens = fixed_probe<double>(6, 6, 2);
  for (const AttentionKind& kind : attention_kinds()) {
    SCOPED_TRACE(kind.name);
    const AttentionConfig& c = kind.config;
    const auto w = random_weights<double>(c, 5);
    const Canonical<double> form = canonicalize(w, c);
    const Matrix<double> input = c.centred_inputs ? centred_tokens(tokens) : tokens;
    const Matrix<double> before = attend(c, w, input);
    EXPECT_LT((attend(c, form.weights, input) - before).norm(), 1e-12 * before.norm());
    EXPECT_LT(distance(canonicalize(act(sample(c), w), c).weights, form.weights), 1e-9);
    EXPECT_LT(distance(canonicalize(form.weights, c).weights, form.weights), 1e-12);
    if (table_shift_is_free(c) || c.centred_inputs) {
      EXPECT_FALSE(form.canonical_from_input.has_value()) << "elements do not do it all";
      continue;
    }
    ASSERT_TRUE(form.canonical_from_input.has_value());
    EXPECT_TRUE(symmetry_of(c).contains(*form.canonical_from_input));
    EXPECT_LT(distance(act(*form.canonical_from_input, w), form.weights), 1e-12);
  }
}

TEST(CanonicalKinds, FiftyDigits) {
  for (const AttentionKind& kind : attention_kinds()) {
    const AttentionConfig& c = kind.config;
    Random random(3);
    const auto w = random_weights<Float50>(c, 5);
    const auto moved = act(symmetry_of(c).sample<Float50>(random), w);
    const RowVector<Float50> x = testing::flat(canonicalize(w, c).weights);
    const RowVector<Float50> y = testing::flat(canonicalize(moved, c).weights);
    EXPECT_LT(static_cast<double>((x - y).norm() / x.norm()), 1e-44) << kind.name;
  }
}

// N6: the point of least norm has |k| = |q| in every rotary pair, and a fixed phase.
TEST(CanonicalKinds, RotaryPairsAreBalanced) {
  const AttentionConfig c = testing::with_rotary(testing::tiny_config(4, 2), {1.0, 0.3});
  for (const auto& group : canonicalize(random_weights<double>(c, 5), c).weights.groups) {
    for (Index p = 0; p < 2; ++p) {
      const double key = std::hypot(group.key.col(p).norm(), group.key.col(p + 2).norm());
      double query = 0;
      for (const auto& reader : group.readers)
        query = std::hypot(query, std::hypot(reader.query.col(p).norm(), reader.query.col(p + 2).norm()));
      EXPECT_NEAR(key, query, 1e-12 * key);
    }
  }
}

// Heads that attend alike are merged under positions, too.
TEST(CanonicalKinds, CoincidentScoresAreMerged) {
  AttentionConfig c = testing::with_rotary(testing::tiny_config(2, 2), {1.0, 0.3});
  auto w = random_weights<double>(c, 5);
  w.groups[1].key = w.groups[0].key;
  w.groups[1].readers[0].query = w.groups[0].readers[0].query;
  auto other = w;  // the sum dealt out otherwise: V1 O1 + V2 O2 = V1 (O1 + O2) + (V2 - V1) O2
  other.groups[0].readers[0].output += w.groups[1].readers[0].output;
  other.groups[1].value -= w.groups[0].value;
  EXPECT_LT(distance(canonicalize(w, c).weights, canonicalize(other, c).weights), 1e-9);
  // A quarter turn of one pair's keys is another score, though Q K^T is the same for tokens at one place
  // only.
  w.groups[1].key.col(0) = w.groups[0].key.col(2);
  w.groups[1].key.col(2) = -w.groups[0].key.col(0);
  EXPECT_EQ(canonicalize(w, c).classes.size(), 2U);
}

TEST(CanonicalKinds, GainsArePositiveEqualAndInOrder) {
  const AttentionConfig c = testing::with_norms(testing::tiny_config(4, 2), 0.1);
  auto w = random_weights<double>(c, 5);
  const auto form = canonicalize(w, c);
  EXPECT_LT((form.weights.query_gain - form.weights.key_gain).norm(), 1e-14);
  for (Index k = 1; k < 4; ++k) EXPECT_LT(form.weights.key_gain(k), form.weights.key_gain(k - 1));
  EXPECT_GT(form.weights.key_gain(3), 0);
  // The sign of a gain may sit in what it multiplies: no group element, but the same form.
  w.key_gain(1) *= -1;
  for (auto& group : w.groups) group.key.col(1) *= -1;
  const auto other = canonicalize(w, c);
  EXPECT_LT(distance(other.weights, form.weights), 1e-12);
  EXPECT_FALSE(other.canonical_from_input.has_value());
  // Equal gains leave the order open, and that is said.
  w.query_gain.setOnes();
  w.key_gain.setOnes();
  EXPECT_EQ(canonicalize(w, c).margins[0].qk_sign_margin, 0);
}

TEST(CanonicalKinds, SlopesStayAtTheirPlaces) {
  const AttentionConfig c = testing::with_slopes(testing::tiny_config(4, 4));
  const auto form = canonicalize(random_weights<double>(c, 5), c);
  EXPECT_EQ(form.canonical_from_input->top, Permutation::identity(4));
}

}  // namespace
}  // namespace attnsym
