// Elements of the group of whole models leave the reference forward pass alone; what is mistaken for them
// does not, and is not in the group.
#include "symmetry/transformer_group.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "symmetry/errors.hpp"
#include "symmetry/folding.hpp"
#include "tests/support/random_transformer.hpp"
#include "verify/transformer_forward.hpp"

namespace attnsym {
namespace {

using testing::random_transformer;
using testing::small_transformer;

const Tokens tokens{3, 1, 4, 1, 5, 9, 2, 6};

double apart(const TransformerConfig& config, const TransformerWeights<double>& a,
             const TransformerWeights<double>& b) {
  const Matrix<double> of_a = run_transformer(config, a, tokens);
  return (of_a - run_transformer(config, b, tokens)).norm() / of_a.norm();
}

std::vector<TransformerConfig> configs() {
  std::vector<TransformerConfig> list;
  for (const NormKind norm : {NormKind::Rms, NormKind::Layer}) {
    for (const NormPlacement placement :
         {NormPlacement::Before, NormPlacement::After, NormPlacement::OnBranch, NormPlacement::Around})
      list.push_back(small_transformer(norm, placement));
  }
  TransformerConfig config = small_transformer(NormKind::Rms, NormPlacement::Before);
  config.mlp.gated = true;
  for (const Activation activation : {Activation::Silu, Activation::Relu, Activation::Gelu}) {
    config.mlp.activation = activation;
    list.push_back(config);
  }
  for (const Head head : {Head::Tied, Head::None}) {
    config.head = head;
    list.push_back(config);
  }
  config = small_transformer(NormKind::Layer, NormPlacement::Before);
  config.mlp.activation = Activation::Relu;
  config.parallel = config.shared_norm = config.head_bias = true;
  list.push_back(config);
  config.embedding_norm = true;
  config.parallel = config.shared_norm = false;
  config.token_types = 2;
  list.push_back(config);
  return list;
}

TransformerWeights<double> ready(const TransformerGroup& group, std::uint64_t seed) {
  TransformerWeights<double> weights = random_transformer(group.config(), seed);
  const auto stream = group.stream();
  const bool rotates =
      stream == TransformerGroup::Stream::Orthogonal || stream == TransformerGroup::Stream::Centred;
  return rotates ? folded(group.config(), std::move(weights)) : weights;
}

TEST(TransformerGroup, ElementsOfEveryKindLeaveOutputsAlone) {
  std::uint64_t seed = 1;
  for (const TransformerConfig& config : configs()) {
    const TransformerGroup group(config);
    const auto weights = ready(group, ++seed);
    Random random(seed);
    const TransformerElement element = group.sample(random);
    EXPECT_TRUE(group.contains(element)) << group.describe();
    EXPECT_LE(apart(config, weights, act(element, weights)), 1e-11) << group.describe();
    EXPECT_LE(apart(config, weights, act(inverse(element), act(element, weights))), 1e-12);
  }
}

TEST(TransformerGroup, ComposesAsItActs) {
  std::uint64_t seed = 100;
  for (const TransformerConfig& config : configs()) {
    const TransformerGroup group(config);
    const auto weights = ready(group, ++seed);
    Random random(seed);
    const TransformerElement g = group.sample(random);
    const TransformerElement h = group.sample(random);
    const auto at_once = act(compose(g, h), weights);
    const auto in_turn = act(g, act(h, weights));
    EXPECT_LE((at_once.embedding - in_turn.embedding).norm(), 1e-12 * in_turn.embedding.norm());
    for (std::size_t l = 0; l < at_once.blocks.size(); ++l) {
      EXPECT_TRUE(is_close(at_once.blocks[l].mlp.down, in_turn.blocks[l].mlp.down, 1e3));
      EXPECT_TRUE(is_close(at_once.blocks[l].mlp.up, in_turn.blocks[l].mlp.up, 1e3));
      EXPECT_TRUE(is_close(at_once.blocks[l].attention.groups[0].key,
                           in_turn.blocks[l].attention.groups[0].key, 1e4));
    }
    EXPECT_TRUE(group.contains(compose(g, inverse(g))));
  }
}

TEST(TransformerGroup, FoldingKeepsOutputs) {
  for (const TransformerConfig& config : configs()) {
    const auto weights = random_transformer(config, 7);
    const auto after = folded(config, weights);
    EXPECT_LE(apart(config, weights, after), 1e-12);
    if (!gains_are_fixed(config)) {
      EXPECT_TRUE(after.blocks[0].attention_input.gain.isOnes(0));
    }
  }
}

TEST(TransformerGroup, FoldingIsRefusedWithTheReason) {
  const auto reason = [](const TransformerConfig& config) {
    return final_gain_is_fixed(config).value_or("") + gains_are_fixed(config).value_or("");
  };
  TransformerConfig config = small_transformer(NormKind::Rms, NormPlacement::Before);
  EXPECT_EQ(reason(config), "");
  config.head = Head::Tied;
  EXPECT_NE(reason(config).find("tied"), std::string::npos);
  config = small_transformer(NormKind::Layer, NormPlacement::After);
  EXPECT_THROW(with_folded_gains(config, 0, random_transformer(config, 1).blocks[0]), ShapeError);
}

// What goes wrong: not in the group, and outputs say so.
TEST(TransformerGroupTwin, MistakenElementsChangeOutputs) {
  TransformerConfig config = small_transformer(NormKind::Rms, NormPlacement::Before);
  config.mlp.activation = Activation::Relu;
  const TransformerGroup group(config);
  const auto weights = ready(group, 11);
  const auto changed = [&](const TransformerElement& element) {
    EXPECT_FALSE(group.contains(element));
    EXPECT_GE(apart(config, weights, act(element, weights)), 1e-3);
  };
  TransformerElement element = group.identity();
  element.neurons[1].scale(2) = -1;
  changed(element);
  element = group.identity();
  element.stream.matrix(0, 0) = 2;
  changed(element);

  TransformerConfig silu = config;
  silu.mlp.gated = true;
  silu.mlp.activation = Activation::Silu;
  element = TransformerGroup(silu).identity();
  element.neurons[0].gate_scale(1) = 2;
  EXPECT_FALSE(TransformerGroup(silu).contains(element));
  const auto gated = random_transformer(silu, 12);
  EXPECT_GE(apart(silu, gated, act(element, gated)), 1e-3);
}

TEST(TransformerGroupTwin, RotationsNeedFoldedGains) {
  const TransformerConfig config = small_transformer(NormKind::Rms, NormPlacement::Before);
  Random random(3);
  const TransformerElement element = TransformerGroup(config).sample(random);
  EXPECT_THROW(act(element, random_transformer(config, 4)), ShapeError);
}

TEST(TransformerGroupTwin, TiedModelsAndLayerNormsAllowFewerStreams) {
  TransformerConfig config = small_transformer(NormKind::Rms, NormPlacement::Before);
  Random random(5);
  const TransformerElement rotation = TransformerGroup(config).sample(random, {.attention = {.qk = false}});
  config.head = Head::Tied;
  EXPECT_FALSE(TransformerGroup(config).contains(rotation));
  const TransformerConfig layer = small_transformer(NormKind::Layer, NormPlacement::Before);
  TransformerElement moved = TransformerGroup(layer).identity();
  EXPECT_TRUE(TransformerGroup(layer).contains(moved));
  moved.stream = rotation.stream;
  EXPECT_FALSE(TransformerGroup(layer).contains(moved)) << "the mean of a token is not kept";
  const auto weights = ready(TransformerGroup(layer), 6);
  EXPECT_GE(apart(layer, weights, act(moved, weights)), 1e-3);
}

}  // namespace
}  // namespace attnsym
