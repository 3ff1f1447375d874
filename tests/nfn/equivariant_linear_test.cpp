// The published layers: parameter counts, and exact equivariance over the rationals.
#include "nfn/equivariant_linear.hpp"

#include <gtest/gtest.h>

#include <set>

#include "nfn/invariant.hpp"
#include "nfn/testing/generators.hpp"
#include "symmetry/errors.hpp"
#include "tests/nfn/random_features.hpp"

namespace attnsym::testing {
namespace {

TEST(ParameterCount, IsThatOfThePaper) {
  EXPECT_EQ(EquivariantLinear<float>::parameter_count(32, 1, 10), 783'820);
  EXPECT_EQ(InvariantLayer<float>::parameter_count(32, 10, 10), 112'210);
}

TEST(ParameterCount, TheClosedFormsCountTheViews) {
  for (const auto& [width, in, out] :
       std::vector<std::array<Index, 3>>{{32, 1, 10}, {2, 1, 1}, {3, 4, 2}, {5, 2, 7}}) {
    EquivariantLinear<float> layer(width, in, out);
    EXPECT_EQ(parameter_count(layer.parameters()),
              (EquivariantLinear<float>::parameter_count(width, in, out)));
    InvariantLayer<float> invariant(width, in, out);
    EXPECT_EQ(parameter_count(invariant.parameters()),
              (InvariantLayer<float>::parameter_count(width, in, out)));
  }
}

TEST(Parameters, EveryNumberHasOneNameAndOnePlace) {
  EquivariantLinear<double> layer(3, 2, 2);
  std::set<std::string> names;
  std::set<const double*> places;
  for (const auto& view : layer.parameters()) {
    EXPECT_TRUE(names.insert(view.name).second) << view.name;
    Index extent = 1;
    for (const Index axis : view.axes) extent *= axis;
    EXPECT_EQ(extent, view.size()) << view.name;
    for (Index i = 0; i < view.size(); ++i) EXPECT_TRUE(places.insert(&view(i)).second) << view.name;
  }
  EXPECT_EQ(names.size(), 45U);
}

TEST(Layers, RefuseWhatDoesNotFit) {
  EXPECT_THROW(EquivariantLinear<double>(0, 1, 1), ShapeError);
  EXPECT_THROW(InvariantLayer<double>(2, 1, 0), ShapeError);
  const EquivariantLinear<double> layer(3, 2, 1);
  const InvariantLayer<double> invariant(3, 2, 1);
  const auto narrow = random_features<double>({2, 1, 1, 1, 1}, 2, 1, 1);
  const auto thin = random_features<double>({3, 1, 1, 1, 1}, 1, 1, 1);
  const auto fits = random_features<double>({3, 1, 1, 1, 1}, 2, 1, 1);
  const auto other_heads = random_features<double>({3, 2, 1, 1, 1}, 1, 1, 1);
  EXPECT_THROW(layer(narrow), ShapeError);
  EXPECT_THROW(layer(thin), ShapeError);
  EXPECT_THROW(invariant(thin), ShapeError);
  EXPECT_THROW(layer.backward(fits, fits), ShapeError) << "the cotangent has one channel";
  EXPECT_THROW(layer.backward(fits, other_heads), ShapeError);
  EXPECT_THROW(invariant.backward(fits, Matrix<double>::Zero(1, 2)), ShapeError);
}

TEST(Layers, ABatchIsItsCheckpointsOneByOne) {
  const BlockShape shape{3, 2, 2, 1, 2};
  EquivariantLinear<Rational> layer(3, 2, 2);
  randomize<Rational>(layer, 1);
  const auto both = random_features<Rational>(shape, 2, 2, 2);
  const auto result = layer(both);
  const auto at = [](const Matrix<Rational>& m, Index n) {
    return Matrix<Rational>(m.middleCols(n * m.cols() / 2, m.cols() / 2));
  };
  for (Index n = 0; n < 2; ++n) {
    const WeightFeatures<Rational> one{shape,
                                       2,
                                       1,
                                       at(both.query, n),
                                       at(both.key, n),
                                       at(both.value, n),
                                       at(both.output, n),
                                       at(both.up, n),
                                       at(both.down, n),
                                       at(both.up_bias, n),
                                       at(both.down_bias, n)};
    const auto alone = layer(one);
    EXPECT_EQ(alone.query, at(result.query, n));
    EXPECT_EQ(alone.up, at(result.up, n));
    EXPECT_EQ(alone.down, at(result.down, n));
    EXPECT_EQ(alone.down_bias, at(result.down_bias, n));
  }
}

// Drawn shape, channels, weights and group element.
struct Case {
  BlockShape shape = *block_shape();
  WeightFeatures<Rational> weights = *features<Rational>(shape, *whole_range(1, 2), *whole_range(1, 2));
  BlockElement<Rational> element = *block_element<Rational>(shape);
};

TEST(ExactEquivariance, TheEquivariantLayerCommutesWithTheGroup) {
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("E(g w) == g E(w)", [&] {
    const Case drawn;
    trivial.note(drawn.element);
    EquivariantLinear<Rational> layer(drawn.shape.model_width, drawn.weights.channels, *whole_range(1, 2));
    randomize<Rational>(layer, *rc::gen::arbitrary<std::uint64_t>());
    RC_ASSERT(layer(act(drawn.element, drawn.weights)) == act(drawn.element, layer(drawn.weights)));
  }));
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

TEST(ExactEquivariance, TheInvariantLayerIsInvariant) {
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("I(g w) == I(w)", [&] {
    const Case drawn;
    trivial.note(drawn.element);
    InvariantLayer<Rational> layer(drawn.shape.model_width, drawn.weights.channels, *whole_range(1, 2));
    randomize<Rational>(layer, *rc::gen::arbitrary<std::uint64_t>());
    RC_ASSERT(layer(act(drawn.element, drawn.weights)) == layer(drawn.weights));
  }));
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

TEST(LowRank, CommutesWithTheGroup) {
  EXPECT_TRUE(rc::check("E(g w) == g E(w), low rank", [&] {
    const Case drawn;
    auto layer = EquivariantLinear<Rational>::low_rank(drawn.shape.model_width, drawn.weights.channels, 2, 2);
    randomize<Rational>(layer, *rc::gen::arbitrary<std::uint64_t>());
    RC_ASSERT(layer(act(drawn.element, drawn.weights)) == act(drawn.element, layer(drawn.weights)));
  }));
}

template <Scalar S>
ParameterView<S> parameter(EquivariantLinear<S>& layer, const std::string& name) {
  for (const auto& view : layer.parameters()) {
    if (view.name == name) return view;
  }
  throw ShapeError("no parameter " + name);
}

// The full layer with B1 and c1 multiplied out is the same map.
TEST(LowRank, IsTheFullLayerOfThatRank) {
  const Index d = 3;
  const Index rank = 2;
  auto low = EquivariantLinear<Rational>::low_rank(d, 1, 1, rank);
  randomize<Rational>(low, 4);
  EquivariantLinear<Rational> full(d, 1, 1);
  for (const auto& view : full.parameters()) {
    const bool cubic = view.name == "B1" || view.name == "c1";
    const auto stored = parameter(low, cubic ? view.name + "u" : view.name);
    const auto probes = parameter(low, std::string("W"));
    for (Index i = 0; i < view.size(); ++i) {
      if (!cubic) view(i) = stored(i);
      for (Index t = 0; cubic && t < rank; ++t) {
        view(i) += stored(i / (d * d) * rank + t) * probes(t * d * d + i % (d * d));
      }
    }
  }
  const auto weights = random_features<Rational>({d, 2, 1, 2, 2}, 1, 2, 5);
  EXPECT_EQ(low(weights), full(weights));
}

TEST(LowRank, CountsItsParameters) {
  auto layer = EquivariantLinear<float>::low_rank(5, 2, 3, 4);
  EXPECT_EQ(parameter_count(layer.parameters()), (EquivariantLinear<float>::parameter_count(5, 2, 3, 4)));
  EXPECT_THROW(EquivariantLinear<float>::low_rank(5, 2, 3, 0), ShapeError);
}

// Twin: the same check notices a layer that singles out one entry of A by 1/8.
TEST(ExactEquivariance, ASmallBreachIsCaught) {
  Random random(1);
  const BlockShape shape{3, 2, 2, 2, 3};
  EquivariantLinear<Rational> layer(3, 1, 1);
  randomize<Rational>(layer, 2);
  const auto broken = [&](const WeightFeatures<Rational>& w) {
    auto result = layer(w);
    result.up(0, 0) += Rational(1) / 8;
    return result;
  };
  const auto w = random_features<Rational>(shape, 1, 1, 3);
  int caught = 0;
  for (int i = 0; i < 20; ++i) {
    const auto g = sample_element<Rational>(shape, random);
    if (!(broken(act(g, w)) == act(g, broken(w)))) ++caught;
    EXPECT_TRUE(layer(act(g, w)) == act(g, layer(w)));
  }
  EXPECT_GT(caught, 10);
}

}  // namespace
}  // namespace attnsym::testing
