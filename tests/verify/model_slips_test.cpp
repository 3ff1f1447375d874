// Slips of whole models [N11]: planted by hand, alone and in pairs, and named.
#include "verify/slips/model_slips.hpp"

#include <gtest/gtest.h>

#include "tests/support/random_transformer.hpp"

namespace attnsym {
namespace {

using testing::f32;
using testing::random_transformer;
using testing::small_transformer;

struct Model {
  TransformerConfig config;
  TransformerWeights<double> weights;

  HeldModel held() const {
    TransformerWeights<double> stored = testing::rounded(weights, f32);
    TransformerWeights<double> radius = testing::radii(stored, f32);
    return {config, std::move(stored), std::move(radius)};
  }
};

Model gated(NormPlacement placement, std::uint64_t seed = 1) {
  Model model{small_transformer(NormKind::Rms, placement), {}};
  model.config.mlp.gated = true;
  model.config.logit_softcap = 20;
  model.weights = random_transformer(model.config, seed);
  return model;
}

struct Planted {
  std::string words;
  void (*plant)(Model& model);
};

void add_to_gains(Model& model, double offset) {
  const auto add = [&](Norm<double>& norm) { norm.gain.array() += offset; };
  for (Block<double>& block : model.weights.blocks) {
    for (auto* norm : {&block.attention_input, &block.attention_output, &block.mlp_input, &block.mlp_output})
      add(*norm);
  }
  add(model.weights.final_norm);
}

void exchange_norms(Model& model, Norm<double> Block<double>::*one, Norm<double> Block<double>::*other) {
  for (Block<double>& block : model.weights.blocks) std::swap(block.*one, block.*other);
}

const std::vector<Planted> planted{
    {"another activation", [](Model& m) { m.config.mlp.activation = Activation::Silu; }},
    {"another epsilon", [](Model& m) { m.config.norm_epsilon = 1e-2; }},
    {"another cap", [](Model& m) { m.config.logit_softcap = 30; }},
    {"embeddings are multiplied", [](Model& m) { m.config.embedding_scale = 2; }},
    {"stored less one", [](Model& m) { add_to_gains(m, -1); }},
    {"read as less one", [](Model& m) { add_to_gains(m, 1); }},
    {"the unembedding was lost",
     [](Model& m) {
       m.config.head = Head::Tied;
       m.weights.unembedding.resize(0, m.config.model_width);
     }},
    {"gate and up", [](Model& m) {
       for (Block<double>& block : m.weights.blocks) std::swap(block.mlp.gate, block.mlp.up);
     }}};

std::vector<std::string> named(const Model& a, const Model& b) {
  const HeldModel from = a.held();
  const HeldModel to = b.held();
  return mend(from, to, compare_models(from, to), {}).slips;
}

void expect_named(const std::vector<std::string>& slips, const std::vector<std::string>& words) {
  ASSERT_EQ(slips.size(), words.size()) << words.front();
  for (std::size_t i = 0; i < words.size(); ++i)
    EXPECT_NE(slips[i].find(words[i]), std::string::npos) << words[i] << ": " << slips[i];
}

TEST(ModelSlips, AreNamed) {
  const Model a = gated(NormPlacement::Before);
  for (const Planted& one : planted) {
    Model b = a;
    one.plant(b);
    expect_named(named(a, b), {one.words});
  }
}

// Each pair of different slips, but the two that undo each other.
TEST(ModelSlips, ArePaired) {
  const Model a = gated(NormPlacement::Before);
  for (std::size_t i = 0; i < planted.size(); ++i) {
    for (std::size_t j = i + 1; j < planted.size(); ++j) {
      if (planted[i].words == "stored less one" && planted[j].words == "read as less one") continue;
      Model b = a;
      planted[i].plant(b);
      planted[j].plant(b);
      expect_named(named(a, b), {planted[i].words, planted[j].words});
    }
  }
}

TEST(ModelSlips, OfNormsAreNamed) {
  const Model a = gated(NormPlacement::Around);
  const std::vector<Planted> exchanged{
      {"in front of attention and of MLPs",
       [](Model& m) { exchange_norms(m, &Block<double>::attention_input, &Block<double>::mlp_input); }},
      {"behind attention and in front of MLPs",
       [](Model& m) { exchange_norms(m, &Block<double>::attention_output, &Block<double>::mlp_input); }},
      {"behind attention and behind MLPs",
       [](Model& m) { exchange_norms(m, &Block<double>::attention_output, &Block<double>::mlp_output); }}};
  for (const Planted& one : exchanged) {
    Model b = a;
    one.plant(b);
    expect_named(named(a, b), {one.words});
  }
}

TEST(ModelSlips, AHeadThatIsNotTiedIsNamed) {
  Model a = gated(NormPlacement::Before);
  Model b = a;
  a.config.head = Head::Tied;
  a.weights.unembedding.resize(0, a.config.model_width);
  expect_named(named(a, b), {"is not the embedding"});
}

TEST(ModelSlips, AreNotNamedOnEqualOrUnrelatedModels) {
  const Model a = gated(NormPlacement::Before);
  EXPECT_TRUE(named(a, a).empty());
  EXPECT_TRUE(named(a, gated(NormPlacement::Before, 2)).empty());
  Model edited = a;
  edited.weights.blocks[1].mlp.down(0, 0) += 0.1;
  EXPECT_TRUE(named(a, edited).empty());
}

// Settings are undone whatever else differs, three of them at once, and beside two slips.
TEST(ModelSlips, SettingsAreUndoneFirst) {
  const Model a = gated(NormPlacement::Before);
  Model b = a;
  for (std::size_t i = 0; i < 3; ++i) planted[i].plant(b);
  std::vector<std::string> words{planted[0].words, planted[1].words, planted[2].words};
  expect_named(named(a, b), words);
  Model edited = b;
  edited.weights.blocks[1].mlp.down(0, 0) += 0.1;
  expect_named(named(a, edited), words);
  for (const std::size_t more : {3, 7}) {
    planted[more].plant(b);
    words.push_back(planted[more].words);
  }
  expect_named(named(a, b), words);
}

// What differs in attention alone is left to its own slips.
TEST(ModelSlips, LeaveAttentionAlone) {
  const Model a = gated(NormPlacement::Before);
  Model b = a;
  add_to_gains(b, 1);
  b.weights.blocks[0].attention.groups[0].key *= 2;
  const HeldModel from = a.held();
  const HeldModel to = b.held();
  const MendedModel mended = mend(from, to, compare_models(from, to), {});
  expect_named(mended.slips, {"read as less one"});
  EXPECT_FALSE(mended.decision.blocks[0].agrees());
  EXPECT_TRUE(mended.decision.blocks[1].agrees());
}

}  // namespace
}  // namespace attnsym
