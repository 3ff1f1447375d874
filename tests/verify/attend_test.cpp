// The reference forward pass, against hand-made cases and against N2.
#include "verify/attend.hpp"

#include <gtest/gtest.h>

#include "symmetry/dual.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "verify/testing/closeness.hpp"

namespace attnsym {
namespace {

using testing::random_weights;

AttentionConfig config_of(Index h, Index g, bool biases, bool causal) {
  AttentionConfig c{8, h, g, 3, 2};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = biases;
  c.causal = causal;
  c.scale = 1 / std::sqrt(3.0);
  return c;
}

// One head of width one over two tokens, softmax written out.
TEST(Attend, AgreesWithAHandCalculation) {
  AttentionConfig c{1, 1, 1, 1, 1};
  c.output_bias = true;
  const auto one = [](double value) { return Matrix<double>::Constant(1, 1, value); };
  AttentionWeights<double> w;
  w.groups.push_back({one(2), one(3), {}, {}, {{one(0.5), one(5), {}}}});
  w.output_bias = RowVector<double>::Constant(1, 0.25);
  Matrix<double> tokens(2, 1);
  tokens << 1, -2;
  const double logit_same = 0.5 * 1 * 2 * 1;
  const double logit_other = 0.5 * 1 * 2 * -2;
  const double weight = std::exp(logit_same) / (std::exp(logit_same) + std::exp(logit_other));
  const double expected = (weight * 3 * 1 + (1 - weight) * 3 * -2) * 5 + 0.25;
  EXPECT_NEAR(attend(c, w, tokens)(0, 0), expected, 1e-14);
  c.causal = true;
  EXPECT_NEAR(attend(c, w, tokens)(0, 0), 15.25, 1e-14) << "the first token sees only itself";
}

TEST(Attend, IsInvariantUnderTheGroup) {
  for (const bool causal : {false, true}) {
    for (const auto& [h, g] : {std::pair<Index, Index>{4, 4}, {4, 2}, {3, 1}}) {
      const AttentionConfig c = config_of(h, g, true, causal);
      const auto w = random_weights<double>(c, 3);
      Random random(11);
      const auto element = symmetry_of(c).sample<double>(random);
      const Matrix<double> tokens = fixed_probe<double>(5, 8, 2);
      const Matrix<double> before = attend(c, w, tokens);
      EXPECT_LT((attend(c, act(element, w), tokens) - before).norm(), 1e-12 * before.norm());
    }
  }
}

TEST(Attend, FiftyDigitsConfirmDoubleAndTheInvariance) {
  const AttentionConfig c = config_of(2, 2, true, false);
  const auto w = random_weights<Float50>(c, 3);
  const Matrix<Float50> tokens = fixed_probe<Float50>(4, 8, 2);
  const Matrix<Float50> exact = attend(c, w, tokens);
  const Matrix<double> plain = attend(c, cast<double>(w), fixed_probe<double>(4, 8, 2));
  EXPECT_LT((exact.cast<double>() - plain).norm(), 1e-14 * plain.norm());
  Random random(11);
  const auto element = symmetry_of(c).sample<Float50>(random);
  EXPECT_LT((attend(c, act(element, w), tokens) - exact).norm(), Float50("1e-46") * exact.norm());
}

// Everything that a forward pass can do, along a direction in which all weights move.
TEST(Attend, DualsCarryTheDerivative) {
  AttentionConfig c = config_of(4, 2, true, true);
  c.rotary.frequencies = {0.7};
  c.slopes = {0.5, 0.25, 0.5, 0.25};
  c.softcap = 2;
  c.sinks = true;
  const auto w = random_weights<double>(c, 3);
  const auto direction = testing::flat(random_weights<double>(c, 4));
  const auto at = [&]<class S>(const S& step) {
    AttentionWeights<S> moved = cast<S>(w);
    Index next = 0;
    for_each_slot(moved, [&](auto& slot) {
      for (Index i = 0; i < slot.size(); ++i) slot.data()[i] += step * S(direction(next++));
    });
    return attend(c, moved, Matrix<S>(fixed_probe<S>(4, 8, 2)));
  };
  const Matrix<Dual> carried = at(Dual(0, 1));
  const Float50 h("1e-20");
  const Matrix<double> quotient = ((at(h) - at(Float50(0))) / h).cast<double>();
  const Matrix<double> slopes = carried.unaryExpr([](const Dual& x) { return x.slope; });
  EXPECT_LT((slopes - quotient).norm(), 1e-13 * quotient.norm());
  const Matrix<double> values = carried.unaryExpr([](const Dual& x) { return x.value; });
  EXPECT_LT((values - at(0.0)).norm(), 1e-15 * values.norm());
}

TEST(Attend, LargeLogitsDoNotOverflow) {
  const AttentionConfig c = config_of(2, 2, false, false);
  const auto w = random_weights<double>(c, 3);
  EXPECT_TRUE(attend<double>(c, w, 1e6 * fixed_probe<double>(4, 8, 2)).allFinite());
}

TEST(Attend, RefusesTokensAndWeightsOfTheWrongWidth) {
  const AttentionConfig c = config_of(2, 2, true, false);
  auto w = random_weights<double>(c, 3);
  EXPECT_THROW(attend<double>(c, w, Matrix<double>::Zero(3, 7)), ShapeError);
  w.groups[1].key_bias.resize(0);
  EXPECT_THROW(attend<double>(c, w, Matrix<double>::Zero(3, 8)), ShapeError);
}

}  // namespace
}  // namespace attnsym
