// The paper's predictor: its size, its derivatives, its invariance, its initialisation.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "nfn/block_symmetry.hpp"
#include "nfn/initialization.hpp"
#include "nfn/predictor.hpp"
#include "symmetry/errors.hpp"
#include "tests/nfn/expect_gradients.hpp"

namespace attnsym::testing {
namespace {

const NetworkShape small{{{3, 2, 2, 1, 2}, {2, 1, 1, 2, 3}}, 4, 5};

template <class S>
NetworkWeights<S> random_networks(const NetworkShape& shape, Index batch, std::uint64_t seed) {
  auto weights = NetworkWeights<S>::zero(shape, batch);
  for (auto& block : weights.blocks) block = random_features<S>(block.shape, 1, batch, seed++);
  weights.embedding = fixed_probe<S>(shape.embedding, batch, seed++);
  weights.classifier = fixed_probe<S>(shape.classifier, batch, seed++);
  return weights;
}

TEST(Predictor, HasTheSizeOfThePapers) {
  EXPECT_EQ(Predictor<float>::parameter_count(mnist_shape(), 10), 1'812'181);
  Predictor<float> predictor(mnist_shape(), 10);
  EXPECT_EQ(parameter_count(predictor.parameters()), 1'812'181);
}

TEST(Predictor, HasTheSizeOfItsClosedForm) {
  NetworkShape shape = small;
  for (const Index embedding : {0, 4}) {
    for (const Index classifier : {0, 5}) {
      shape.embedding = embedding;
      shape.classifier = classifier;
      Predictor<double> predictor(shape, 3);
      EXPECT_EQ(parameter_count(predictor.parameters()), Predictor<double>::parameter_count(shape, 3));
      Predictor<double> per_head(shape, 3, 2);
      EXPECT_EQ(parameter_count(per_head.parameters()), Predictor<double>::parameter_count(shape, 3, 2));
    }
  }
}

TEST(Predictor, KeepsItsParametersInMatricesThatHoldNothingElse) {
  Predictor<double> predictor(small, 3);
  Index held = 0;
  for (const Matrix<double>* matrix : parameter_matrices(predictor.parameters())) held += matrix->size();
  EXPECT_EQ(held, parameter_count(predictor.parameters()));
}

TEST(Predictor, NamesEveryParameterOnce) {
  Predictor<double> predictor(small, 3);
  std::map<std::string, int> seen;
  for (const auto& view : predictor.parameters()) ++seen[view.name];
  for (const auto& [name, times] : seen) EXPECT_EQ(times, 1) << name;
  EXPECT_EQ(seen.count("block1.0.PhiQ"), 1U);
  EXPECT_EQ(seen.count("classifier.4.bias"), 1U);
}

// As expect_gradients, but for networks, which differentiate by parameters alone.
template <class Network>
void expect_parameter_gradients(Network network, const NetworkWeights<Float50>& weights) {
  const Float50 step("1e-14");
  const Matrix<Float50> cotangent = fixed_probe<Float50>(1, weights.batch(), 9);
  auto gradient = network.differentiate(weights, [&](const Matrix<Float50>&) { return cotangent; });
  const auto by = gradient.parameters();
  const auto parameters = network.parameters();
  ASSERT_EQ(by.size(), parameters.size());
  for (std::size_t v = 0; v < by.size(); ++v) {
    for (Index i = 0; i < by[v].size(); i += 1 + by[v].size() / 7) {
      const Float50 difference = central_difference<Float50>(
          parameters[v](i), step, [&] { return inner(cotangent, network(weights)); });
      EXPECT_LE(Float50(abs(by[v](i) - difference)), Float50("1e-22") * (1 + Float50(abs(difference))))
          << by[v].name << " " << i;
    }
  }
}

TEST(Gradient, OfThePredictor) {
  Random random(3);
  expect_parameter_gradients(Predictor<Float50>(small, 3, random), random_networks<Float50>(small, 2, 1));
}

TEST(Gradient, OfThePredictorThatSeesHeads) {
  Random random(3);
  expect_parameter_gradients(Predictor<Float50>(small, 3, random, 2), random_networks<Float50>(small, 2, 1));
}

TEST(Gradient, OfAPredictorOfBlocksAlone) {
  Random random(4);
  const NetworkShape blocks{small.blocks, 0, 0};
  expect_parameter_gradients(Predictor<Float50>(blocks, 2, random), random_networks<Float50>(blocks, 2, 1));
}

TEST(Gradient, OfTheFlatPredictor) {
  Random random(5);
  expect_parameter_gradients(FlatPredictor<Float50>(small, 3, random), random_networks<Float50>(small, 2, 1));
}

TEST(Predictor, DoesNotSeeAMoveOfItsBlocks) {
  Random random(6);
  const Predictor<double> predictor(small, 4, random);
  const Predictor<double> per_head(small, 4, random, 3);
  const FlatPredictor<double> flat(small, 4, random);
  const auto weights = random_networks<double>(small, 5, 1);
  auto moved = weights;
  for (auto& block : moved.blocks) block = act(sample_element<double>(block.shape, random), block);
  EXPECT_TRUE(is_close(predictor(moved), predictor(weights), 100));
  EXPECT_TRUE(is_close(per_head(moved), per_head(weights), 100));
  EXPECT_FALSE(is_close(flat(moved), flat(weights), 1e9));
}

// Heads M and -M collide with heads 0 and 0 [N13] unless they are seen one by one.
TEST(Predictor, SeesHeadsOneByOneIfAsked) {
  Random random(10);
  auto opposite = random_networks<double>(small, 1, 1);
  auto& block = opposite.blocks[0];
  block.query.rightCols(2) = -block.query.leftCols(2).eval();
  block.key.rightCols(2) = block.key.leftCols(2).eval();
  auto blind = opposite;
  blind.blocks[0].query.setZero();
  blind.blocks[0].key.setZero();
  const Predictor<double> published(small, 4, random);
  const Predictor<double> per_head(small, 4, random, 3);
  EXPECT_TRUE(is_close(published(opposite), published(blind), 100));
  EXPECT_FALSE(is_close(per_head(opposite), per_head(blind), 1e9));
}

TEST(Predictor, ReadsEveryPart) {
  Random random(7);
  const Predictor<double> predictor(small, 4, random);
  const auto weights = random_networks<double>(small, 1, 1);
  const double before = predictor(weights)(0);
  auto changed = weights;
  changed.blocks[1].up_bias(0) += 1;
  EXPECT_NE(predictor(changed)(0), before);
  changed = weights;
  changed.embedding(0) += 1;
  EXPECT_NE(predictor(changed)(0), before);
  changed = weights;
  changed.classifier(0) += 1;
  EXPECT_NE(predictor(changed)(0), before);
}

TEST(Predictor, RefusesOtherShapes) {
  const Predictor<double> predictor(small, 2);
  NetworkShape other = small;
  other.classifier = 4;
  EXPECT_THROW(predictor(random_networks<double>(other, 2, 1)), ShapeError);
  EXPECT_THROW(Predictor<double>({{}, 1, 1}, 2), ShapeError);
  EXPECT_THROW(Predictor<double>(small, 0), ShapeError);
  EXPECT_THROW(Predictor<double>(small, 2, -1), ShapeError);
  EXPECT_THROW(FlatPredictor<double>(small, 0), ShapeError);
}

double deviation_of(const std::vector<ParameterView<double>>& views, const std::string& name) {
  for (const auto& view : views) {
    if (view.name != name) continue;
    double sum = 0;
    for (Index i = 0; i < view.size(); ++i) sum += view(i) * view(i);
    return std::sqrt(sum / static_cast<double>(view.size()));
  }
  return 0;
}

// Figures by hand for D 32, 2 heads of 16, 64 hidden units, from 1 to 10 channels.
TEST(Initialization, HasTheDeviationsOfThePaper) {
  Random random(8);
  Predictor<double> predictor(mnist_shape(), 10, random);
  const auto views = predictor.parameters();
  const auto expect = [&](const std::string& name, double deviation) {
    EXPECT_NEAR(deviation_of(views, name) / deviation, 1, 0.05) << name;
  };
  expect("block0.0.PhiQ", std::sqrt(2.0 / (16 + 2 * 32)));
  expect("block0.0.A1", 2.0 / (3 * 2 * 32 * 32 + 2 + 32 - 2 * 32 * 32 + 2 * 32));
  expect("block0.0.B1", 2.0 / (2 * (2 * 32 * 32 + 1)));
  expect("block1.0.B9", std::sqrt(2.0 / (1 + 64 + 32 + 1 + 10 * 32)));
  expect("block1.0.c1", 2.0 / (2 * (2 * 32 * 32 + 1)));
  expect("block1.2.F1", 2.0 / (2 * (10 * 2 * 32 * 32 + 1)));
  expect("classifier.0.weight", 1 / std::sqrt(3.0 * 1386));
}

TEST(Initialization, LeavesNoParameterOut) {
  Random random(9);
  Predictor<double> predictor(small, 3, random, 2);
  for (const auto& view : predictor.parameters()) {
    const bool norm = view.name.find("gain") != std::string::npos || view.name.find("head.0") == 0 ||
                      view.name.find("head.2") == 0 || view.name.find("head.5") == 0 ||
                      view.name.find(".3.") != std::string::npos;
    if (!norm) {
      EXPECT_NE(view(0), 0) << view.name;
    }
  }
  auto low_rank = EquivariantLinear<double>::low_rank(3, 1, 2, 2);
  EXPECT_THROW(initialize(low_rank, small.blocks[0], random), ShapeError);
}

TEST(NetworkWeights, AreSelectedAndFlattened) {
  const auto weights = random_networks<double>(small, 3, 1);
  const std::vector<Index> places{2, 0};
  const auto chosen = select<double>(weights, places);
  EXPECT_EQ(chosen.batch(), 2);
  const Matrix<double> all = flatten(weights);
  const Matrix<double> some = flatten(chosen);
  EXPECT_EQ(all.rows(), small.parameters());
  EXPECT_EQ(Matrix<double>(some.col(0)), Matrix<double>(all.col(2)));
  EXPECT_EQ(Matrix<double>(some.col(1)), Matrix<double>(all.col(0)));
  EXPECT_EQ(select<double>(weights, std::span<const Index>()).batch(), 0);
}

}  // namespace
}  // namespace attnsym::testing
