// Losses, rates, Adam, and the loop that joins them.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <thread>

#include "nfn/trainer.hpp"
#include "symmetry/errors.hpp"
#include "tests/nfn/expect_gradients.hpp"

namespace attnsym::testing {
namespace {

const NetworkShape shape{{{3, 2, 2, 1, 2}}, 0, 0};

NetworkWeights<float> random_networks(Index batch) {
  return {{random_features<float>(shape.blocks[0], 1, batch, 1)},
          Matrix<float>(0, batch),
          Matrix<float>(0, batch)};
}

TEST(Loss, HasTheDerivativeOfItsValue) {
  for (const Loss loss : {Loss::binary_cross_entropy, Loss::squared_error}) {
    Matrix<Float50> outputs(1, 4);
    outputs << -3, -0.5, 0.25, 7;
    Matrix<Float50> labels(1, 4);
    labels << 0, 1, 0.5, 0.75;
    const auto sum = sum_of_losses(loss, outputs, labels);
    for (Index n = 0; n < 4; ++n) {
      // The value is a double: a step of 1e-5 leaves 1e-10.
      const Float50 difference = central_difference<Float50>(
          outputs(n), Float50("1e-5"), [&] { return Float50(sum_of_losses(loss, outputs, labels).value); });
      EXPECT_NEAR(static_cast<double>(sum.cotangent(n) - difference), 0, 1e-9);
    }
  }
}

TEST(Loss, OfCrossEntropyNeitherOverflowsNorVanishes) {
  Matrix<double> outputs(1, 3);
  outputs << 800, -800, 40;
  const auto sum =
      sum_of_losses(Loss::binary_cross_entropy, outputs, Matrix<double>(Matrix<double>::Zero(1, 3)));
  EXPECT_DOUBLE_EQ(sum.value, 840);
  EXPECT_EQ(sum.cotangent(0), 1);
  EXPECT_EQ(sum.cotangent(1), 0);
  EXPECT_EQ(predictions(Loss::binary_cross_entropy, outputs)(1), 0);
  EXPECT_EQ(predictions(Loss::squared_error, outputs)(1), -800);
  EXPECT_THROW(sum_of_losses(Loss::squared_error, outputs, Matrix<double>(1, 2)), ShapeError);
}

TEST(Schedule, WarmsUpAndCools) {
  const Schedule schedule{1e-3, 1e-5, 10, 100};
  EXPECT_DOUBLE_EQ(schedule.rate(0), 1e-4);
  EXPECT_DOUBLE_EQ(schedule.rate(9), 1e-3);
  EXPECT_DOUBLE_EQ(schedule.rate(10), 1e-3);
  EXPECT_DOUBLE_EQ(schedule.rate(55), (1e-3 + 1e-5) / 2);
  EXPECT_GT(schedule.rate(99), 1e-5);
  EXPECT_LT(schedule.rate(99), 1.1e-5);
  EXPECT_DOUBLE_EQ((Schedule{1e-3, 1e-5, 0, 10}.rate(0)), 1e-3);
}

// By the formula: from 1 with gradients 0.5 and -0.25 at rate 0.1, its default otherwise, to 0.9 and then
// this.
TEST(Adam, TakesKnownSteps) {
  Dense<double> network(1, 1);
  network.parameters()[0](0) = 1;
  Adam adam(network);
  Dense<double> gradient(1, 1);
  gradient.parameters()[0](0) = 0.5;
  adam.step(network, gradient, 0.1);
  EXPECT_NEAR(network.parameters()[0](0), 0.9, 1e-8);
  EXPECT_EQ(network.parameters()[1](0), 0);
  gradient.parameters()[0](0) = -0.25;
  adam.step(network, gradient, 0.1);
  const double mean = (0.9 * 0.1 * 0.5 - 0.1 * 0.25) / (1 - 0.81);
  const double square = (0.999 * 0.001 * 0.25 + 0.001 * 0.0625) / (1 - 0.999 * 0.999);
  EXPECT_NEAR(network.parameters()[0](0), 0.9 - 0.1 * mean / std::sqrt(square), 1e-8);
}

TEST(EpochOrder, IsAPermutationOfItsOwn) {
  const auto order = epoch_order(50, 1, 0);
  EXPECT_EQ(std::set(order.begin(), order.end()).size(), 50U);
  EXPECT_EQ(order, epoch_order(50, 1, 0));
  EXPECT_NE(order, epoch_order(50, 1, 1));
  EXPECT_NE(order, epoch_order(50, 2, 0));
  EXPECT_TRUE(epoch_order(0, 1, 0).empty());
}

void run_side_by_side(std::size_t count, const std::function<void(std::size_t)>& task) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) threads.emplace_back(task, count - 1 - i);
  for (std::thread& thread : threads) thread.join();
}

TrainingOptions short_training() {
  TrainingOptions options;
  options.schedule.epochs = 6;
  options.schedule.warmup = 2;
  options.batch = 7;
  options.chunk = 3;
  return options;
}

Trainer<Predictor<float>, float> trainer() {
  Random random(1);
  return {Predictor<float>(shape, 3, random), short_training()};
}

std::vector<Matrix<float>> numbers_of(Predictor<float>& network) {
  std::vector<Matrix<float>> numbers;
  for (const auto* matrix : parameter_matrices(network.parameters())) numbers.push_back(*matrix);
  return numbers;
}

TEST(Trainer, GivesTheSameBitsWhateverRunsTheTasks) {
  const auto weights = random_networks(20);
  const Matrix<float> labels = fixed_probe<float>(1, 20, 2).cwiseAbs();
  auto in_turn = trainer();
  auto at_once = trainer();
  for (int epoch = 0; epoch < 3; ++epoch) {
    EXPECT_EQ(in_turn.run_epoch(weights, labels, run_in_turn),
              at_once.run_epoch(weights, labels, run_side_by_side));
  }
  EXPECT_EQ(numbers_of(in_turn.network), numbers_of(at_once.network));
  EXPECT_EQ(in_turn.epoch, 3);
}

TEST(Trainer, GoesOnFromItsState) {
  const auto weights = random_networks(20);
  const Matrix<float> labels = fixed_probe<float>(1, 20, 2).cwiseAbs();
  auto whole = trainer();
  for (int epoch = 0; epoch < 4; ++epoch) whole.run_epoch(weights, labels, run_in_turn);
  auto first = trainer();
  for (int epoch = 0; epoch < 2; ++epoch) first.run_epoch(weights, labels, run_in_turn);
  Trainer<Predictor<float>, float> second(first.network, short_training());
  second.adam = first.adam;
  second.epoch = first.epoch;
  for (int epoch = 0; epoch < 2; ++epoch) second.run_epoch(weights, labels, run_in_turn);
  EXPECT_EQ(numbers_of(whole.network), numbers_of(second.network));
  EXPECT_NE(numbers_of(whole.network), numbers_of(first.network));
}

TEST(Trainer, LowersTheLoss) {
  const auto weights = random_networks(40);
  Matrix<float> labels(1, 40);
  for (Index n = 0; n < 40; ++n) labels(n) = weights.blocks[0].up_bias.middleCols(2 * n, 2).sum() > 0 ? 1 : 0;
  TrainingOptions options = short_training();
  options.schedule = {1e-2, 1e-4, 2, 60};
  Random random(1);
  // As many channels as the paper has: with three, all units of the head can be dead from the start.
  Trainer<Predictor<float>, float> trainer(Predictor<float>(shape, 10, random), options);
  const double before = trainer.run_epoch(weights, labels, run_in_turn);
  double after = before;
  while (trainer.epoch < 60) after = trainer.run_epoch(weights, labels, run_in_turn);
  EXPECT_LT(after, before / 4);
  // Outputs in chunks are those of all at once.
  EXPECT_TRUE(
      is_close(outputs_of<float>(trainer.network, weights, run_in_turn, 7), trainer.network(weights)));
}

TEST(Trainer, RefusesLabelsThatDoNotFit) {
  auto some = trainer();
  EXPECT_THROW(some.run_epoch(random_networks(3), Matrix<float>::Zero(1, 2), run_in_turn), ShapeError);
  EXPECT_THROW(some.run_epoch(random_networks(3), Matrix<float>::Zero(2, 3), run_in_turn), ShapeError);
}

}  // namespace
}  // namespace attnsym::testing
