// Heads of tasks are part of the model: moved with the stream they change nothing, and nothing of them may
// change.
#include <gtest/gtest.h>

#include "symmetry/errors.hpp"
#include "symmetry/folding.hpp"
#include "tests/support/task_heads.hpp"
#include "verify/checker/model_evidence.hpp"
#include "verify/models/decide_models.hpp"

namespace attnsym {
namespace {

using testing::f32;
using testing::random_transformer;
using testing::task_head_configs;

HeldModel held(const TransformerConfig& config, const TransformerWeights<double>& weights) {
  TransformerWeights<double> stored = testing::rounded(weights, f32);
  TransformerWeights<double> radius = testing::radii(stored, f32);
  return {config, std::move(stored), std::move(radius)};
}

ModelDecision decide(const TransformerConfig& config, const TransformerWeights<double>& a,
                     const TransformerWeights<double>& b) {
  return decide_models(held(config, a), held(config, b));
}

// Inputs that take all positions.
Tokens tokens_of(const TransformerConfig& config) {
  Tokens tokens{3, 1, 4, 1, 5, 9, 2, 6};
  if (!config.class_token) tokens.push_back(7);
  return tokens;
}

double apart(const TransformerConfig& config, const TransformerWeights<double>& a,
             const TransformerWeights<double>& b) {
  const Matrix<double> of_a = run_transformer(config, a, tokens_of(config));
  return (of_a - run_transformer(config, b, tokens_of(config))).norm() / of_a.norm();
}

// Gains folded where the stream may be rotated.
TransformerWeights<double> ready(const TransformerGroup& group, std::uint64_t seed) {
  TransformerWeights<double> weights = random_transformer(group.config(), seed);
  const auto stream = group.stream();
  const bool rotates =
      stream == TransformerGroup::Stream::Orthogonal || stream == TransformerGroup::Stream::Centred;
  return rotates ? folded(group.config(), std::move(weights)) : weights;
}

TEST(TaskHeads, EveryElementOfTheGroupKeepsOutputsAndIsRecognised) {
  std::uint64_t seed = 10;
  for (const auto& [name, config] : task_head_configs()) {
    const TransformerGroup group(config);
    const auto weights = ready(group, ++seed);
    Random random(seed);
    const TransformerElement element = group.sample(random, {.attention = {.condition = 2}});
    EXPECT_TRUE(group.contains(element)) << name;
    const auto moved = act(element, weights);
    EXPECT_LE(apart(config, weights, moved), 1e-12) << name;
    const ModelDecision decision = decide(config, random_transformer(config, seed), moved);
    EXPECT_STREQ(name_of(decision.verdict), "equivalent") << name << ": " << decision.reason;
    EXPECT_EQ(refute_models(held(config, weights), held(config, moved),
                            evidence_of(decide(config, weights, moved)), Outputs::Logits, run_in_turn),
              std::nullopt)
        << name;
  }
}

// One number after the other, of every tensor behind the blocks.
TEST(TaskHeads, NothingOfThemMayChange) {
  for (const auto& [name, config] : task_head_configs()) {
    const auto weights = random_transformer(config, 5);
    const auto for_each_slot_behind = [](TransformerWeights<double>& all, const auto& visit) {
      visit(all.unembedding);
      visit(all.head_bias);
      for_each_transform_slot(all.head_transform, visit);
      for (Task<double>& task : all.tasks) for_each_task_slot(task, visit);
    };
    int slots = 0;
    auto copy = weights;
    for_each_slot_behind(copy, [&](const auto&) { ++slots; });
    for (int wanted = 0; wanted < slots; ++wanted) {
      auto edited = weights;
      int slot = 0;
      bool is_there = false;
      for_each_slot_behind(edited, [&](auto& numbers) {
        if (slot++ != wanted || numbers.size() == 0) return;
        is_there = true;
        numbers.data()[numbers.size() / 2] += 0.5;
      });
      if (!is_there) continue;
      const ModelDecision decision = decide(config, weights, edited);
      EXPECT_STREQ(name_of(decision.verdict), "distinct")
          << name << ", slot " << wanted << ": " << decision.reason;
    }
    EXPECT_STREQ(name_of(decide(config, weights, weights).verdict), "identical") << name;
  }
}

// Embeddings that read behind an activation know signs: all of them changed is another model.
TEST(TaskHeadsTwin, SignsAreSeenBehindAnActivation) {
  const TransformerConfig masked = task_head_configs().front().second;
  const TransformerGroup group(masked);
  TransformerElement element = group.identity();
  element.stream.matrix *= -1;
  EXPECT_FALSE(group.contains(element));
  const auto weights = random_transformer(masked, 6);
  EXPECT_THROW(act(element, weights), ShapeError);
  // By hand, with the transform moved as if its activation did not matter.
  TransformerConfig untied = masked;
  untied.head = Head::Own;
  auto moved = weights;
  moved.unembedding = weights.embedding;
  moved = act(element, moved);
  moved.unembedding.resize(0, 0);
  moved.head_transform.dense *= -1;
  moved.head_transform.bias *= -1;
  moved.head_transform.norm.bias *= -1;
  EXPECT_GE(apart(masked, weights, moved), 1e-3);
  EXPECT_STREQ(name_of(decide(masked, weights, moved).verdict), "distinct");
}

// The space behind a transform has no basis but its own.
TEST(TaskHeadsTwin, TransformsOfTheirOwnAreNotTurned) {
  const TransformerConfig untied = task_head_configs()[1].second;
  const auto weights = random_transformer(untied, 7);
  auto turned = weights;
  turned.head_transform.dense *= -1;
  turned.head_transform.bias *= -1;
  turned.unembedding *= -1;
  EXPECT_GE(apart(untied, weights, turned), 1e-3);
  EXPECT_STREQ(name_of(decide(untied, weights, turned).verdict), "distinct");
}

TEST(TaskHeads, GainsFoldIntoThem) {
  for (const auto& [name, config] : task_head_configs()) {
    const auto weights = random_transformer(config, 8);
    const auto after = folded(config, weights);
    EXPECT_LE(apart(config, weights, after), 1e-12) << name;
    if (!final_gain_is_fixed(config)) {
      EXPECT_TRUE(after.final_norm.gain.isOnes(0)) << name;
    }
    EXPECT_STRNE(name_of(decide(config, weights, after).verdict), "distinct") << name;
  }
}

TEST(TaskHeads, ProbabilitiesNeedAHeadOfLogits) {
  for (const auto& [name, config] : task_head_configs()) {
    const bool has_logits = config.head == Head::Own || config.head == Head::Tied;
    const HeldModel model = held(config, random_transformer(config, 9));
    const auto ask = [&] { return compare_models(model, model, {.outputs = Outputs::Probabilities}); };
    if (has_logits) {
      EXPECT_STREQ(name_of(ask().verdict), "identical") << name;
    } else {
      EXPECT_THROW(ask(), ShapeError) << name;
    }
  }
}

TEST(TaskHeads, OtherOutputsAreNotCompared) {
  const auto configs = task_head_configs();
  TransformerConfig first = configs[5].second;
  TransformerConfig last = first;
  last.tasks.front().tokens = ReadTokens::First;
  const auto weights = random_transformer(first, 10);
  const ModelDecision decision = compare_models(held(first, weights), held(last, weights));
  EXPECT_EQ(decision.different_architecture, "different heads");
}

}  // namespace
}  // namespace attnsym
