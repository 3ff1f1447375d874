// Multi-head latent attention [N5]: the action, its laws, what it leaves unchanged, and its dimension.
#include <gtest/gtest.h>

#include "symmetry/errors.hpp"
#include "symmetry/mla_symmetry.hpp"
#include "tests/support/random_mla.hpp"
#include "verify/measured_dimension.hpp"
#include "verify/measured_mla.hpp"
#include "verify/mla_attend.hpp"

namespace attnsym {
namespace {

using testing::random_mla;
using testing::slots;

MlaConfig tiny() { return testing::small_mla(); }
MlaConfig with_two_pairs() { return testing::small_mla_with_two_pairs(); }

Matrix<double> tokens() { return fixed_probe<double>(6, 9, 2); }

double relative(const Matrix<double>& a, const Matrix<double>& b) { return (a - b).norm() / a.norm(); }

// Written out without the longer tokens: two tokens, the second looks at the first and at itself.
TEST(MlaAttend, IsTheDefinition) {
  const MlaConfig c = tiny();
  const auto w = random_mla<double>(c, 3);
  const Matrix<double> x = fixed_probe<double>(2, 9, 4);
  const auto latent = [&](const MlaLatent<double>& l, Index n) {
    const RowVector<double> z = x.row(n) * l.down;
    return RowVector<double>(
        (z / std::sqrt(z.squaredNorm() / static_cast<double>(z.size()))).cwiseProduct(l.gain));
  };
  const auto turned = [](const RowVector<double>& pair, double angle) {
    RowVector<double> result(2);
    result << pair(0) * std::cos(angle) - pair(1) * std::sin(angle),
        pair(0) * std::sin(angle) + pair(1) * std::cos(angle);
    return result;
  };
  RowVector<double> expected = RowVector<double>::Zero(9);
  for (const MlaHead<double>& head : w.heads) {
    const RowVector<double> q = latent(w.query, 1) * head.query;
    const RowVector<double> p = turned(latent(w.query, 1) * head.rotary_query, 0.8);
    RowVector<double> logits(2);
    Matrix<double> values(2, 2);
    for (Index n = 0; n < 2; ++n) {
      const RowVector<double> rotary = turned(x.row(n) * w.rotary_key, 0.8 * static_cast<double>(n));
      logits(n) = 0.5 * (q.dot(latent(w.kv, n) * head.key) + p.dot(rotary));
      values.row(n) = latent(w.kv, n) * head.value;
    }
    const RowVector<double> weights = logits.array().exp() / logits.array().exp().sum();
    expected += weights * values * head.output;
  }
  EXPECT_LT((attend(c, w, x).row(1) - expected).norm(), 1e-14 * expected.norm());
}

TEST(MlaGroup, LeavesTheFunctionUnchanged) {
  for (const MlaConfig& c : {tiny(), with_two_pairs()}) {
    const auto w = random_mla<double>(c, 3);
    const MlaSymmetryGroup group = symmetry_of(c);
    Random random(11);
    for (int draw = 0; draw < 5; ++draw) {
      const auto element = group.sample<double>(random);
      EXPECT_TRUE(group.contains(element));
      EXPECT_LT(relative(attend(c, w, tokens()), attend(c, act(element, w), tokens())), 1e-12);
      EXPECT_GT(relative(slots(w)[0], slots(act(element, w))[0]), 0.1);
    }
  }
}

TEST(MlaGroup, ActsFromTheLeftExactly) {
  SampleOptions options;
  options.monomial = true;
  for (const MlaConfig& c : {tiny(), with_two_pairs()}) {
    const MlaSymmetryGroup group = symmetry_of(c);
    const auto w = random_mla<Rational>(c, 3);
    Random random(5);
    const auto g = group.sample<Rational>(random, options);
    const auto h = group.sample<Rational>(random, options);
    EXPECT_EQ(slots(act(compose(g, h), w)), slots(act(g, act(h, w))));
    EXPECT_EQ(slots(act(compose(inverse(g), g), w)), slots(w));
    EXPECT_EQ(compose(g, inverse(g)), group.identity<Rational>());
    EXPECT_TRUE(group.contains(compose(g, h)));
  }
}

TEST(MlaGroup, HasTheMeasuredDimension) {
  const MeasuredDimension measured = measure_dimension(tiny());
  EXPECT_EQ(symmetry_of(tiny()).dimension(), 45);
  EXPECT_EQ(measured.dimension, 45);
  EXPECT_EQ(measured.parameters, tiny().parameter_count());
  EXPECT_GT(measured.smallest_kept, 1e-4);
  EXPECT_LT(measured.largest_dropped, 1e-14);
}

// GL(2, C) on the rotary key instead of one complex number, and no scales of latents beside an epsilon.
TEST(MlaGroup, HasTheMeasuredDimensionWithEqualPairsAndAnEpsilon) {
  EXPECT_EQ(symmetry_of(with_two_pairs()).dimension(), 16 + 8 + 15 + 10);
  EXPECT_EQ(measure_dimension(with_two_pairs()).dimension, 49);
}

TEST(MlaGroup, IsDescribed) {
  EXPECT_EQ(
      symmetry_of(tiny()).describe(),
      "S_2; per head GL(2) on what is not turned of Q-K and GL(2) on V-O; C^x on the rotary key of all "
      "heads; O(4) x R>0 and (R^x)^4 on the gains of the latent of queries; O(5) x R>0 and (R^x)^5 on the "
      "gains of the latent of keys and values");
}

TEST(MlaGroup, DoesNotContainWhatChangesTheFunction) {
  const MlaConfig c = tiny();
  const MlaSymmetryGroup group = symmetry_of(c);
  const auto w = random_mla<double>(c, 3);
  const auto wrong = [&](auto edit) {
    MlaElement<double> element = group.identity<double>();
    edit(element);
    EXPECT_FALSE(group.contains(element));
    EXPECT_GT(relative(attend(c, w, tokens()), attend(c, act(element, w), tokens())), 1e-3);
  };
  const auto skew = [](Index size) {
    return GeneralLinear<double>::from_matrix(Matrix<double>::Identity(size, size) +
                                              fixed_probe<double>(size, size, 1) / 2);
  };
  wrong([&](auto& e) { e.second.first = skew(2); });                // a generic gauge of the rotary key
  wrong([&](auto& e) { e.second.second.first.first = skew(4); });   // of the latent of queries
  wrong([&](auto& e) { e.second.second.second.first = skew(5); });  // of that of keys and values
}

// Moves that are no elements: what is shared cannot be moved for one head, and gains take part.
TEST(MlaGroup, LeavesNoPartOut) {
  const MlaConfig c = tiny();
  const auto w = random_mla<double>(c, 3);
  const auto differs = [&](const MlaWeights<double>& other) {
    return relative(attend(c, w, tokens()), attend(c, other, tokens())) > 1e-3;
  };
  SampleOptions only_latents;
  only_latents.heads = only_latents.vo = false;
  Random random(7);
  const auto moved = act(symmetry_of(c).sample<double>(random, only_latents), w);
  auto gain_left = moved;
  gain_left.kv.gain = w.kv.gain;
  EXPECT_TRUE(differs(gain_left));
  auto one_head = w;
  one_head.rotary_key = moved.rotary_key;
  one_head.heads[0].rotary_query = moved.heads[0].rotary_query;
  EXPECT_TRUE(differs(one_head));
  auto swapped = w;
  std::swap(swapped.heads[0].rotary_query, swapped.heads[1].rotary_query);
  EXPECT_TRUE(differs(swapped));
  auto scaled = w;  // the scale of a latent that its norm ignores is no element, but no change either
  scaled.kv.down *= 3;
  EXPECT_FALSE(differs(scaled));
}

TEST(MlaConfig, RefusesImpossibleShapes) {
  MlaConfig c = tiny();
  c.rotary.frequencies.clear();
  EXPECT_THROW(symmetry_of(c), ShapeError);
  auto w = random_mla<double>(tiny(), 3);
  w.heads[1].value.resize(5, 3);
  EXPECT_THROW(attend(tiny(), w, tokens()), ShapeError);
  w = random_mla<double>(tiny(), 3);
  w.kv.gain(2) = 0;
  EXPECT_THROW(act(symmetry_of(tiny()).identity<double>(), w), SingularError);
}

}  // namespace
}  // namespace attnsym
