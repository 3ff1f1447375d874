// What is known to be stored alike is not compared; the answer is the same as if it were.
#include <gtest/gtest.h>

#include "symmetry/stored_model.hpp"
#include "tests/support/random_transformer.hpp"
#include "tests/support/task_heads.hpp"
#include "verify/models/decide_models.hpp"

namespace attnsym {
namespace {

using testing::f32;
using Weights = TransformerWeights<double>;

HeldModel held(const TransformerConfig& config, const Weights& weights) {
  Weights stored = testing::rounded(weights, f32);
  Weights radius = testing::radii(stored, f32);
  return {config, std::move(stored), std::move(radius)};
}

std::vector<Matrix<double>> slots_of(const Block<double>& block) {
  std::vector<Matrix<double>> slots;
  for_each_block_slot(block, [&](const auto& slot) { slots.emplace_back(slot); });
  return slots;
}

std::vector<Matrix<double>> slots_outside(Weights weights) {
  weights.blocks.clear();
  std::vector<Matrix<double>> slots;
  for_each_transformer_slot(weights, [&](const auto& slot) { slots.emplace_back(slot); });
  return slots;
}

// As a file with the same bytes would say it.
StoredAlike alike(const Weights& a, const Weights& b) {
  return {[&](Index layer) {
            const auto at = static_cast<std::size_t>(layer);
            return slots_of(a.blocks[at]) == slots_of(b.blocks[at]);
          },
          [&] { return slots_outside(a) == slots_outside(b); }};
}

ModelDecision compare(const TransformerConfig& config, const Weights& a, const Weights& b, bool told) {
  ModelDecideOptions options;
  if (told) options.alike = alike(a, b);
  return compare_models(held(config, a), held(config, b), options);
}

std::vector<TransformerConfig> configs() {
  std::vector<TransformerConfig> all;
  for (const NormKind norm : {NormKind::Rms, NormKind::Layer}) {
    for (const NormPlacement placement :
         {NormPlacement::Before, NormPlacement::After, NormPlacement::OnBranch, NormPlacement::Around})
      all.push_back(testing::small_transformer(norm, placement));
  }
  for (const auto& [name, config] : testing::task_head_configs()) all.push_back(config);
  return all;
}

TEST(StoredAlike, GivesTheSameAnswerForAnEditOfEverySlot) {
  int edits = 0;
  for (const TransformerConfig& config : configs()) {
    const Weights a = testing::random_transformer(config, 3);
    int count = 0;
    for_each_transformer_slot(a, [&](const auto&) { ++count; });
    for (int edited = 0; edited < count; ++edited) {
      Weights b = a;
      int slot = 0;
      bool changed = false;
      for_each_transformer_slot(b, [&](auto& numbers) {
        if (slot++ != edited || numbers.size() == 0) return;
        numbers(numbers.size() / 2) += 0.3;
        changed = true;
      });
      if (!changed) continue;
      ++edits;
      const ModelDecision told = compare(config, a, b, true);
      const ModelDecision compared = compare(config, a, b, false);
      EXPECT_EQ(told.verdict, compared.verdict) << edited << ": " << told.reason << "; " << compared.reason;
      EXPECT_EQ(told.first_difference, compared.first_difference) << edited;
    }
  }
  EXPECT_GT(edits, 300);
}

TEST(StoredAlike, OfAllIsIdentical) {
  for (const TransformerConfig& config : configs()) {
    const Weights a = testing::random_transformer(config, 4);
    const ModelDecision decision = compare(config, a, a, true);
    EXPECT_EQ(decision.verdict, ModelVerdict::Identical) << decision.reason;
    const ModelEvidence evidence = evidence_of(decision);
    EXPECT_EQ(refute_models(held(config, a), held(config, a), evidence, Outputs::Logits, run_in_turn),
              std::nullopt);
  }
}

}  // namespace
}  // namespace attnsym
