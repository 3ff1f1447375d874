// What counts as rounding in whole models, and that one meaning serves both answers [N7, N12].
#include <gtest/gtest.h>

#include <cmath>

#include "symmetry/folding.hpp"
#include "tests/support/random_transformer.hpp"
#include "verify/checker/model_identity.hpp"
#include "verify/models/decide_models.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f32;
using testing::random_transformer;
using testing::small_transformer;

constexpr double f64 = 0x1p-53;

HeldModel held(const TransformerConfig& config, const TransformerWeights<double>& weights, double unit) {
  TransformerWeights<double> stored = testing::rounded(weights, unit);
  TransformerWeights<double> radius = testing::radii(stored, unit);
  return {config, std::move(stored), std::move(radius)};
}

bool is_equal(const ModelDecision& decision) {
  return decision.verdict == ModelVerdict::Identical || decision.verdict == ModelVerdict::Equivalent;
}

// A model of one pre-norm family that may rotate its stream, wide enough for chance to even out.
TransformerConfig wide_config() {
  TransformerConfig config = small_transformer(NormKind::Rms, NormPlacement::Before);
  config.model_width = 64;
  config.vocabulary = 200;
  config.positions = 0;
  config.mlp.width = 96;
  for (AttentionConfig& module : config.attention) {
    module.model_width = 64;
    module.key_width = module.value_width = 16;
  }
  return config;
}

// LayerNorms see the mean of a token: signs of some coordinates change what they put out.
TEST(ModelSoundness, SignsThatMoveTheMeanAreNoSymmetryOfLayerNorms) {
  TransformerConfig config = small_transformer(NormKind::Layer, NormPlacement::OnBranch);
  config.final_norm = false;
  config.positions = 0;
  const TransformerWeights<double> weights = random_transformer(config, 5);
  StreamMove signs{Matrix<double>::Identity(6, 6)};
  signs.matrix(1, 1) = signs.matrix(4, 4) = -1;
  const TransformerWeights<double> moved = act(signs, weights);
  for (const double unit : {f64, f32}) {
    const ModelDecision decision = decide_models(held(config, weights, unit), held(config, moved, unit));
    EXPECT_FALSE(is_equal(decision)) << name_of(decision.verdict) << ": " << decision.reason;
  }
  // Nor does the checker take them for evidence, though every piece agrees.
  const HeldModel from = held(config, weights, f64);
  ModelEvidence evidence = evidence_of(decide_models(from, from));
  evidence.stream = signs.matrix;
  const auto reason = refute_models(from, held(config, moved, f64), evidence, Outputs::Logits, run_in_turn);
  ASSERT_TRUE(reason);
  EXPECT_NE(reason->find("mean"), std::string::npos) << *reason;
  // The twin: all signs together are one.
  StreamMove all{-Matrix<double>::Identity(6, 6)};
  EXPECT_TRUE(is_equal(decide_models(held(config, weights, f32), held(config, act(all, weights), f32))));
}

TEST(ModelIdentity, FoldedGainsAreEquivalentNotIdentical) {
  TransformerConfig config = small_transformer(NormKind::Rms, NormPlacement::Before);
  TransformerWeights<double> a = random_transformer(config, 2);
  a.blocks[0].mlp_input.gain.setConstant(2);  // powers of two fold without rounding
  TransformerWeights<double> b = a;
  b.blocks[0].mlp_input.gain.setOnes();
  b.blocks[0].mlp.up *= 2;
  const HeldModel from = held(config, a, f64);
  EXPECT_STREQ("equivalent", name_of(decide_models(from, held(config, b, f64)).verdict));
  EXPECT_STREQ("identical", name_of(decide_models(from, from).verdict));
}

TEST(ModelIdentity, IsRefutedByOneNumberAnywhere) {
  const TransformerConfig config = small_transformer(NormKind::Layer, NormPlacement::Before);
  const TransformerWeights<double> weights = random_transformer(config, 3);
  const HeldModel from = held(config, weights, f64);
  const ModelDecision same = decide_models(from, from);
  ASSERT_STREQ("identical", name_of(same.verdict));
  const ModelEvidence evidence = evidence_of(same);
  EXPECT_FALSE(refute_model_identity(from, from, evidence, run_in_turn));
  std::size_t slots = 0;
  for_each_transformer_slot(weights, [&](const auto& slot) { slots += slot.size() > 0 ? 1 : 0; });
  for (std::size_t changed = 0; changed < slots; ++changed) {
    TransformerWeights<double> other = weights;
    std::size_t at = 0;
    for_each_transformer_slot(other, [&](auto& slot) {
      if (slot.size() == 0) return;
      // The last number: of positions that no token has, none is behind the first token's.
      if (at++ == changed) slot.data()[slot.size() - 1] = std::nextafter(slot.data()[slot.size() - 1], 9.0);
    });
    EXPECT_TRUE(refute_model_identity(from, held(config, other, f64), evidence, run_in_turn)) << changed;
  }
}

// Outputs a little larger: no pair may have both certificates, whatever the size.
void expect_no_pair_is_both(const TransformerConfig& config, const TransformerWeights<double>& weights) {
  int equal = 0;
  int distinct = 0;
  for (const double unit : {f32, bf16}) {
    const HeldModel from = held(config, weights, unit);
    for (double factor = 0.5; factor < 4000; factor *= 3) {
      TransformerWeights<double> other = weights;
      other.unembedding *= 1 + factor * unit;
      const HeldModel to = held(config, other, unit);
      const ModelDecision decision = decide_models(from, to);
      equal += is_equal(decision) ? 1 : 0;
      distinct += decision.verdict == ModelVerdict::Distinct ? 1 : 0;
      if (!is_equal(decision)) continue;
      Random random(11);
      for (int draw = 0; draw < 5; ++draw) {
        Tokens tokens;
        for (int n = 0; n < 6; ++n) tokens.push_back(random.below(config.vocabulary));
        EXPECT_TRUE(refute_token_witness(from, to, tokens, Outputs::Logits)) << factor;
      }
    }
  }
  EXPECT_GT(equal, 1);
  EXPECT_GT(distinct, 1);
}

TEST(ModelRounding, NoPairIsBothEqualAndDistinct) {
  const TransformerConfig config = wide_config();
  expect_no_pair_is_both(config, random_transformer(config, 7));
}

// Where attention adds next to nothing, its errors hide nothing: those of all other pieces have to do it.
TEST(ModelRounding, NoPairIsBothWithoutErrorsOfAttention) {
  const TransformerConfig config = wide_config();
  TransformerWeights<double> weights = random_transformer(config, 7);
  for (Block<double>& block : weights.blocks)
    for (KvGroup<double>& group : block.attention.groups)
      for (QueryHead<double>& head : group.readers) head.output *= 1e-9;
  expect_no_pair_is_both(config, weights);
}

// Numbers whose squares leave the range of double are numbers like others.
TEST(ModelRounding, SmallNumbersCountWhereLargeOnesMultiplyThem) {
  TransformerConfig config = small_transformer(NormKind::Rms, NormPlacement::Before);
  config.mlp.gated = true;
  config.mlp.activation = Activation::Silu;
  TransformerWeights<double> a = random_transformer(config, 4);
  a.blocks[1].mlp.up *= 1e-170;
  a.blocks[1].mlp.down *= 1e170;
  TransformerWeights<double> b = a;
  EXPECT_TRUE(is_equal(decide_models(held(config, a, f64), held(config, b, f64))));
  b.blocks[1].mlp.up.array() *= 1.5;
  b.blocks[1].mlp.up(0, 0) *= 0.2;
  const ModelDecision decision = decide_models(held(config, a, f64), held(config, b, f64));
  EXPECT_FALSE(is_equal(decision)) << decision.reason;
}

// Rounding spreads over all directions. What changes every row of a matrix along one of them is an edit, even
// where each number moves by less than half a unit in the last place.
TEST(ModelRounding, AnAlignedDifferenceIsNotRounding) {
  const TransformerConfig config = wide_config();
  const TransformerWeights<double> weights = random_transformer(config, 9);
  const HeldModel stored = held(config, weights, bf16);
  const auto with_edit = [&](double size) {
    TransformerWeights<double> other = weights;
    Matrix<double>& rows = other.unembedding;
    const RowVector<double> direction = rows.row(17).normalized();
    for (Index i = 0; i < rows.rows(); ++i) rows.row(i) += size * bf16 * rows.row(i).norm() * direction;
    TransformerWeights<double> radius = testing::radii(other, f32);
    return decide_models(stored, HeldModel(config, testing::rounded(other, f32), std::move(radius)));
  };
  EXPECT_TRUE(is_equal(with_edit(0))) << with_edit(0).reason;
  const ModelDecision decision = with_edit(0.6);
  EXPECT_FALSE(is_equal(decision));
  const OuterComparison& head = decision.outer[decision.outer.size() - 2];
  EXPECT_EQ("unembedding", head.part);
  EXPECT_LE(head.entries.ratio, 2) << "the sizes of numbers alone do not show it";
  EXPECT_LE(head.entries.row_ratio, 2);
}

// Rows that are repeated round alike, and are no edit.
TEST(ModelRounding, RepeatedRowsAreNotAligned) {
  const TransformerConfig config = wide_config();
  TransformerWeights<double> weights = random_transformer(config, 9);
  for (Index i = 100; i < config.vocabulary; ++i) {
    weights.unembedding.row(i) = weights.unembedding.row(5);
    weights.embedding.row(i) = weights.embedding.row(5);
  }
  EXPECT_TRUE(is_equal(decide_models(held(config, weights, bf16), held(config, weights, f32))));
}

TransformerConfig narrow_config(NormKind norm, Index vocabulary, Index neurons) {
  TransformerConfig config = small_transformer(norm, NormPlacement::Before);
  config.model_width = 32;
  config.vocabulary = vocabulary;
  config.positions = 0;
  config.mlp.width = neurons;
  for (AttentionConfig& module : config.attention) {
    module.model_width = 32;
    module.heads = module.groups = 4;
    module.key_width = module.value_width = 8;
  }
  return config;
}

// A moved copy in a coarse format: undecided for less than one in a thousand, however narrow the model is.
TEST(ModelRounding, MovedCopiesOfNarrowModelsAreRecognised) {
  const TransformerConfig config = narrow_config(NormKind::Rms, 64, 48);
  const TransformerGroup group(config);
  TransformerSampleOptions options;
  options.stream = false;
  int undecided = 0;
  constexpr int copies = 300;
  for (int seed = 1; seed <= copies; ++seed) {
    const TransformerWeights<double> weights =
        testing::rounded(random_transformer(config, static_cast<std::uint64_t>(seed)), bf16);
    Random random(static_cast<std::uint64_t>(seed));
    const TransformerWeights<double> moved = act(group.sample(random, options), weights);
    const ModelDecision decision = decide_models(held(config, weights, bf16), held(config, moved, bf16));
    EXPECT_NE(ModelVerdict::Distinct, decision.verdict);
    if (is_equal(decision)) continue;
    ++undecided;
    EXPECT_LE(undecided, 1) << "seed " << seed << ": " << decision.reason;
  }
}

// The rotation of a stream that is wider than its tables have rows is fitted to all that was matched.
TEST(ModelRounding, RotatedCopiesWithFewTokensAreRecognised) {
  for (const NormKind norm : {NormKind::Rms, NormKind::Layer}) {
    const TransformerConfig config = narrow_config(norm, 7, 6);
    const TransformerGroup group(config);
    for (const double unit : {f64, f32, bf16}) {
      for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const TransformerWeights<double> weights = testing::rounded(random_transformer(config, seed), unit);
        Random random(seed);
        const TransformerWeights<double> moved = act(group.sample(random), folded(config, weights));
        const ModelDecision decision = decide_models(held(config, weights, unit), held(config, moved, unit));
        EXPECT_TRUE(is_equal(decision)) << "seed " << seed << ": " << decision.reason;
      }
    }
  }
}

}  // namespace
}  // namespace attnsym
