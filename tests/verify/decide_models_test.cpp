#include "verify/models/decide_models.hpp"

#include <gtest/gtest.h>

#include <Eigen/QR>

#include "symmetry/errors.hpp"
#include "tests/support/random_transformer.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f32;
using testing::random_transformer;
using testing::small_transformer;

HeldModel held(const TransformerConfig& config, const TransformerWeights<double>& weights, double unit) {
  TransformerWeights<double> stored = testing::rounded(weights, unit);
  TransformerWeights<double> radius = testing::radii(stored, unit);
  return {config, std::move(stored), std::move(radius)};
}

ModelDecision decide(const TransformerConfig& config, const TransformerWeights<double>& a,
                     const TransformerWeights<double>& b, double unit = f32) {
  return decide_models(held(config, a, unit), held(config, b, unit));
}

void expect(ModelVerdict verdict, const ModelDecision& decision) {
  EXPECT_STREQ(name_of(verdict), name_of(decision.verdict)) << decision.reason;
}

// Every row that is written to the stream times q, every reader q^T times itself; norms are left alone.
void rotate(TransformerWeights<double>& weights, const Matrix<double>& q) {
  for (Matrix<double>* rows :
       {&weights.embedding, &weights.positions, &weights.token_types, &weights.unembedding}) {
    if (rows->size() > 0) *rows = (*rows * q).eval();
  }
  const auto write = [&](auto& rows) {
    if (rows.size() > 0) rows = (rows * q).eval();
  };
  const auto read = [&](Matrix<double>& weight) {
    if (weight.size() > 0) weight = (q.transpose() * weight).eval();
  };
  for (Block<double>& block : weights.blocks) {
    for (KvGroup<double>& group : block.attention.groups) {
      read(group.key);
      read(group.value);
      for (QueryHead<double>& reader : group.readers) {
        read(reader.query);
        write(reader.output);
      }
    }
    write(block.attention.output_bias);
    read(block.mlp.up);
    read(block.mlp.gate);
    write(block.mlp.down);
    write(block.mlp.down_bias);
  }
}

// All gains in front of readers moved into these.
void fold_gains(TransformerWeights<double>& weights) {
  const auto fold = [](Norm<double>& norm, std::vector<Matrix<double>*> readers) {
    for (Matrix<double>* reader : readers) {
      if (reader->size() > 0) *reader = (norm.gain.transpose().asDiagonal() * *reader).eval();
    }
    norm.gain.setOnes();
  };
  for (Block<double>& block : weights.blocks) {
    std::vector<Matrix<double>*> readers;
    for (KvGroup<double>& group : block.attention.groups) {
      readers.push_back(&group.key);
      readers.push_back(&group.value);
      for (QueryHead<double>& reader : group.readers) readers.push_back(&reader.query);
    }
    fold(block.attention_input, readers);
    fold(block.mlp_input, {&block.mlp.up, &block.mlp.gate});
  }
  weights.unembedding = (weights.unembedding * weights.final_norm.gain.transpose().asDiagonal()).eval();
  weights.final_norm.gain.setOnes();
}

Matrix<double> random_rotation(Index width, std::uint64_t seed) {
  return Eigen::HouseholderQR<Matrix<double>>(fixed_probe<double>(width, width, seed)).householderQ();
}

TransformerConfig llama_like() {
  TransformerConfig config = small_transformer(NormKind::Rms, NormPlacement::Before);
  config.positions = 0;
  config.mlp.gated = true;
  config.mlp.activation = Activation::Silu;
  for (AttentionConfig& attention : config.attention) attention.rotary = {.frequencies = {0.9}};
  return config;
}

TEST(DecideModels, EveryModelIsIdenticalToItself) {
  for (const NormKind norm : {NormKind::Rms, NormKind::Layer}) {
    for (const NormPlacement placement :
         {NormPlacement::Before, NormPlacement::After, NormPlacement::OnBranch, NormPlacement::Around}) {
      const TransformerConfig config = small_transformer(norm, placement);
      const auto weights = random_transformer(config, 1);
      expect(ModelVerdict::Identical, decide(config, weights, weights));
    }
  }
}

TEST(DecideModels, FoldedGainsAreEquivalent) {
  const TransformerConfig config = llama_like();
  const auto a = random_transformer(config, 2);
  auto b = a;
  fold_gains(b);
  for (const double unit : {f32, bf16}) expect(ModelVerdict::Equivalent, decide(config, a, b, unit));
}

TEST(DecideModels, RotatedStreamsAreEquivalentOnceGainsAreFolded) {
  const TransformerConfig config = llama_like();
  const auto a = random_transformer(config, 3);
  auto b = a;
  fold_gains(b);
  rotate(b, random_rotation(config.model_width, 5));
  const ModelDecision decision = decide(config, a, b);
  expect(ModelVerdict::Equivalent, decision);
  EXPECT_EQ(decision.stream.kind(), StreamTransport::Kind::Orthogonal);
}

TEST(DecideModels, GainsLeftInPlaceUnderARotationAreDistinct) {
  const TransformerConfig config = llama_like();
  const auto a = random_transformer(config, 3);
  auto b = a;
  rotate(b, random_rotation(config.model_width, 5));
  const ModelDecision decision = decide(config, a, b);
  expect(ModelVerdict::Distinct, decision);
  ASSERT_TRUE(decision.witness);
  EXPECT_GE(decision.witness->tokens.size(), 3U);
}

// Outputs that are the stream: coordinates are no tokens, and there may be more of them.
TEST(DecideModels, GainsOfWhatIsTheOutputCount) {
  TransformerConfig config = llama_like();
  config.head = Head::None;
  config.vocabulary = 4;
  const auto a = random_transformer(config, 3);
  for (Index coordinate = 0; coordinate < config.model_width; ++coordinate) {
    auto b = a;
    b.final_norm.gain(coordinate) *= 1.1;
    expect(ModelVerdict::Distinct, decide(config, a, b));
  }
}

// A rotation that leaves a difference is refined by what agrees, whichever biases and norms modules have.
TEST(DecideModels, RotationsAreRefinedWithAllKindsOfBiases) {
  for (int biases = 0; biases < 32; ++biases) {
    TransformerConfig config = llama_like();
    for (AttentionConfig& attention : config.attention) {
      if ((biases & 16) != 0) attention.qk_norm = QkNorm{};
    }
    for (AttentionConfig& attention : config.attention) {
      attention.query_bias = (biases & 1) != 0;
      attention.key_bias = (biases & 2) != 0;
      attention.value_bias = (biases & 4) != 0;
      attention.output_bias = (biases & 8) != 0;
    }
    auto a = random_transformer(config, 3);
    fold_gains(a);
    auto b = a;
    rotate(b, random_rotation(config.model_width, 5));
    expect(ModelVerdict::Equivalent, decide(config, a, b));
    b.blocks[1].mlp.down(0, 0) += 0.3;
    const ModelDecision decision = decide(config, a, b);
    EXPECT_EQ(decision.stream.kind(), StreamTransport::Kind::Orthogonal);
    expect(ModelVerdict::Distinct, decision);
  }
}

TEST(DecideModels, MeansThatLayerNormsTakeAwayDoNotCount) {
  const TransformerConfig config = small_transformer(NormKind::Layer, NormPlacement::Before);
  const auto a = random_transformer(config, 4);
  auto b = a;
  b.embedding.colwise() -= b.embedding.rowwise().mean().eval();
  for (Block<double>& block : b.blocks) {
    block.mlp.down.colwise() -= block.mlp.down.rowwise().mean().eval();
    block.mlp.down_bias.array() -= 0.5;
  }
  expect(ModelVerdict::Equivalent, decide(config, a, b));
}

TEST(DecideModels, MeansCountUnderRmsNorms) {
  const TransformerConfig config = llama_like();
  const auto a = random_transformer(config, 4);
  auto b = a;
  b.embedding.colwise() -= b.embedding.rowwise().mean().eval();
  const ModelDecision decision = decide(config, a, b);
  expect(ModelVerdict::Distinct, decision);
  EXPECT_EQ(decision.first_difference, "embeddings");
}

TEST(DecideModels, NeuronsMayBePermutedAndScaledWhereTheActivationAllows) {
  const TransformerConfig config = llama_like();
  const auto a = random_transformer(config, 6);
  auto b = a;
  Mlp<double>& mlp = b.blocks[1].mlp;
  mlp.up.col(2) *= -3;
  mlp.down.row(2) /= -3;
  for (Matrix<double>* columns : {&mlp.up, &mlp.gate}) columns->col(0).swap(columns->col(5));
  mlp.down.row(0).swap(mlp.down.row(5));
  const ModelDecision decision = decide(config, a, b);
  expect(ModelVerdict::Equivalent, decision);
  EXPECT_FALSE(decision.blocks[1].mlp.in_order);
  mlp.gate.col(3) *= 2;
  mlp.down.row(3) /= 2;
  const ModelDecision scaled_gate = decide(config, a, b);
  expect(ModelVerdict::Distinct, scaled_gate);
  EXPECT_NE(scaled_gate.reason.find("block 1: MLP, neuron 3"), std::string::npos) << scaled_gate.reason;
}

// The order of the files is kept for as long as it fits: here it does for the first neurons and for most.
TEST(DecideModels, TwoNeuronsMayBeExchangedBehindManyInOrder) {
  TransformerConfig config = llama_like();
  config.mlp.width = 40;
  const auto a = random_transformer(config, 6);
  auto b = a;
  Mlp<double>& mlp = b.blocks[1].mlp;
  mlp.up.col(30).swap(mlp.up.col(37));
  mlp.gate.col(30).swap(mlp.gate.col(37));
  mlp.down.row(30).swap(mlp.down.row(37));
  const ModelDecision decision = decide(config, a, b);
  expect(ModelVerdict::Identical, decision);
  EXPECT_EQ(decision.blocks[1].mlp.image.at(30), 37);
}

TEST(DecideModels, PositiveScalesOfReluNeuronsOnly) {
  TransformerConfig config = small_transformer(NormKind::Layer, NormPlacement::Before);
  config.mlp.activation = Activation::Relu;
  const auto a = random_transformer(config, 7);
  auto b = a;
  Mlp<double>& mlp = b.blocks[0].mlp;
  const auto scale = [&](double factor) {
    mlp.up.col(1) *= factor;
    mlp.up_bias(1) *= factor;
    mlp.down.row(1) /= factor;
  };
  scale(3);
  expect(ModelVerdict::Equivalent, decide(config, a, b));
  scale(-1);
  expect(ModelVerdict::Distinct, decide(config, a, b));
}

// Their scales come from what is stored precisely, and the rest is judged as it is stored.
TEST(DecideModels, ScalesOfNeuronsThatAreStoredInTwoPrecisions) {
  for (const bool gated : {false, true}) {
    TransformerConfig config = small_transformer(NormKind::Rms, NormPlacement::Before);
    config.mlp.activation = Activation::Relu;
    config.mlp.gated = gated;
    const auto a = random_transformer(config, 7);
    auto b = a;
    Mlp<double>& mlp = b.blocks[0].mlp;
    (gated ? mlp.gate : mlp.up).col(1) *= 3;
    mlp.down.row(1) /= 3;
    mlp.up.col(2).swap(mlp.up.col(4));
    if (gated) mlp.gate.col(2).swap(mlp.gate.col(4));
    mlp.down.row(2).swap(mlp.down.row(4));
    const auto stored = [&](const TransformerWeights<double>& weights) {
      TransformerWeights<double> fine = testing::rounded(weights, f32);
      TransformerWeights<double> radius = testing::radii(fine, f32);
      const TransformerWeights<double> coarse = testing::rounded(weights, bf16);
      const TransformerWeights<double> coarse_radius = testing::radii(coarse, bf16);
      for (std::size_t block = 0; block < fine.blocks.size(); ++block) {
        fine.blocks[block].mlp.up = coarse.blocks[block].mlp.up;
        radius.blocks[block].mlp.up = coarse_radius.blocks[block].mlp.up;
      }
      return HeldModel{config, std::move(fine), std::move(radius)};
    };
    const ModelDecision decision = decide_models(stored(a), stored(b));
    expect(ModelVerdict::Equivalent, decision);
    EXPECT_FALSE(decision.blocks[0].mlp.in_order);
    b.blocks[0].mlp.down(1, 0) *= 1.001;
    EXPECT_NE(decide_models(stored(a), stored(b)).verdict, ModelVerdict::Equivalent);
  }
}

TEST(DecideModels, SignedPermutationsAreFoundWhereNormsActOnTheStream) {
  for (const NormPlacement placement :
       {NormPlacement::After, NormPlacement::OnBranch, NormPlacement::Around}) {
    TransformerConfig config = small_transformer(NormKind::Rms, placement);
    config.positions = 0;
    const auto a = random_transformer(config, 8);
    auto b = a;
    Matrix<double> q = Matrix<double>::Zero(6, 6);
    const std::vector<Index> image{3, 0, 5, 1, 2, 4};
    for (Index k = 0; k < 6; ++k) q(k, image[static_cast<std::size_t>(k)]) = k % 2 == 0 ? 1 : -1;
    rotate(b, q);
    const Matrix<double> places = q.cwiseAbs();
    for (Block<double>& block : b.blocks) {
      for (Norm<double>* norm :
           {&block.attention_input, &block.attention_output, &block.mlp_input, &block.mlp_output})
        if (norm->gain.size() > 0) norm->gain = (norm->gain * places).eval();
    }
    if (b.final_norm.gain.size() > 0) b.final_norm.gain = (b.final_norm.gain * places).eval();
    const ModelDecision decision = decide(config, a, b);
    EXPECT_NE(decision.verdict, ModelVerdict::Distinct) << decision.reason;
    EXPECT_EQ(decision.stream.kind(), StreamTransport::Kind::SignedPermutation);
    EXPECT_NE(decision.verdict, ModelVerdict::Undecided) << decision.reason;
  }
}

TEST(DecideModels, BiasesOfPostNormsMayBeKeptInWritersAndReaders) {
  TransformerConfig config = small_transformer(NormKind::Layer, NormPlacement::After);
  config.embedding_norm = true;
  const auto a = random_transformer(config, 9);
  auto b = a;
  const RowVector<double> shift = fixed_probe<double>(1, 6, 77);
  b.blocks[0].attention_output.bias += shift;
  b.blocks[0].mlp.up_bias -= shift * b.blocks[0].mlp.up;
  b.blocks[0].mlp.down_bias -= shift;
  expect(ModelVerdict::Equivalent, decide(config, a, b));
}

TEST(DecideModels, PositionsInFrontOfTheFirstTokenDoNotCount) {
  TransformerConfig config = small_transformer(NormKind::Layer, NormPlacement::After);
  config.position_offset = 2;
  const auto a = random_transformer(config, 9);
  auto b = a;
  b.positions.topRows(2) *= 5;
  expect(ModelVerdict::Identical, decide(config, a, b));
  b.positions.row(2) *= 5;
  expect(ModelVerdict::Distinct, decide(config, a, b));
}

TEST(DecideModels, ProbabilitiesAllowAShiftOfTheUnembedding) {
  const TransformerConfig config = llama_like();
  const auto a = random_transformer(config, 10);
  auto b = a;
  b.unembedding.rowwise() -= RowVector<double>(b.unembedding.colwise().mean());
  expect(ModelVerdict::Distinct, decide(config, a, b));
  const ModelDecideOptions options{.outputs = Outputs::Probabilities};
  expect(ModelVerdict::Equivalent, decide_models(held(config, a, f32), held(config, b, f32), options));
}

// What is decided is certified, and what is forged is not.
TEST(ModelEvidenceTest, HoldsForTheModelsItIsAbout) {
  const TransformerConfig config = llama_like();
  const auto a = random_transformer(config, 21);
  auto b = a;
  fold_gains(b);
  rotate(b, random_rotation(config.model_width, 5));
  b.blocks[0].mlp.up.col(0).swap(b.blocks[0].mlp.up.col(3));
  b.blocks[0].mlp.gate.col(0).swap(b.blocks[0].mlp.gate.col(3));
  b.blocks[0].mlp.down.row(0).swap(b.blocks[0].mlp.down.row(3));
  b.blocks[1].mlp.down.row(5).setZero();
  auto with_dead_neuron = a;
  with_dead_neuron.blocks[1].mlp.down.row(5).setZero();
  const HeldModel from = held(config, with_dead_neuron, f32);
  const HeldModel to = held(config, b, f32);
  const ModelDecision decision = decide_models(from, to);
  expect(ModelVerdict::Equivalent, decision);
  const ModelEvidence evidence = evidence_of(decision);
  const auto refuted = [&](const ModelEvidence& claimed, const HeldModel& other) {
    return refute_models(from, other, claimed, Outputs::Logits, run_in_turn).value_or("");
  };
  EXPECT_EQ(refuted(evidence, to), "");

  ModelEvidence forged = evidence;
  std::swap(forged.neurons[0][1], forged.neurons[0][2]);
  EXPECT_NE(refuted(forged, to), "") << "neurons exchanged";
  forged = evidence;
  forged.neurons[0][1] = -1;
  EXPECT_NE(refuted(forged, to), "") << "a neuron left out";
  forged = evidence;
  forged.neurons[0][1] = forged.neurons[0][2];
  EXPECT_NE(refuted(forged, to), "") << "a neuron twice";
  forged.neurons[0][1] = 1000;
  EXPECT_NE(refuted(forged, to), "") << "a neuron that is not there";
  forged = evidence;
  forged.stream *= 2;
  EXPECT_NE(refuted(forged, to), "") << "not orthogonal";
  auto plain = with_dead_neuron;
  fold_gains(plain);
  plain.final_norm.gain.setOnes();
  const HeldModel without_gains = held(config, plain, f32);
  auto stretched = plain;
  rotate(stretched, 2 * Matrix<double>::Identity(config.model_width, config.model_width));
  forged = evidence_of(decide_models(without_gains, without_gains));
  forged.stream *= 2;
  EXPECT_NE(refute_models(without_gains, held(config, stretched, f32), forged, Outputs::Logits, run_in_turn),
            std::nullopt)
      << "pieces that fit, but not by a symmetry";
  forged = evidence;
  forged.stream = random_rotation(config.model_width, 6);
  EXPECT_NE(refuted(forged, to), "") << "another rotation";
  forged = evidence;
  forged.attention.pop_back();
  EXPECT_NE(refuted(forged, to), "") << "a block less";
  auto c = b;
  c.blocks[1].mlp.up(2, 3) += 0.01;
  EXPECT_NE(refuted(evidence, held(config, c, f32)), "") << "another model";
}

// Probes that everybody knows are not enough: a matrix that stretches what they do not see is no rotation.
TEST(ModelEvidenceTest, StreamsAreOrthogonalInFull) {
  constexpr Index width = 20;
  const Matrix<double> rotation = random_rotation(width, 5);
  EXPECT_TRUE(stream_of(rotation));
  EXPECT_FALSE(stream_of(Matrix<double>(2 * rotation)));
  const Matrix<double> probes = fixed_probe<double>(width, 8, 0x6f7274686f);
  const Matrix<double> basis = Eigen::HouseholderQR<Matrix<double>>(probes).householderQ();
  const Matrix<double> unseen = basis.rightCols(1);
  const Matrix<double> stretch = Matrix<double>::Identity(width, width) + unseen * unseen.transpose();
  EXPECT_LT((stretch * probes - probes).norm(), 1e-12);
  EXPECT_FALSE(stream_of(stretch));
}

TEST(ModelEvidenceTest, TokensThatTellModelsApart) {
  const TransformerConfig config = llama_like();
  const auto a = random_transformer(config, 22);
  auto b = a;
  b.blocks[0].mlp.gate.col(2) *= 2;
  const HeldModel from = held(config, a, f32);
  const HeldModel to = held(config, b, f32);
  const ModelDecision decision = decide_models(from, to);
  expect(ModelVerdict::Distinct, decision);
  EXPECT_FALSE(refute_token_witness(from, to, decision.witness->tokens, Outputs::Logits));
  EXPECT_TRUE(refute_token_witness(from, from, decision.witness->tokens, Outputs::Logits));
  EXPECT_THROW(refute_token_witness(from, to, {1, 2, 1000}, Outputs::Logits), ShapeError);
}

TEST(ModelEvidenceTest, TokensThatTheCheckerRefusesTellNothing) {
  const TransformerConfig config = llama_like();
  const auto a = random_transformer(config, 22);
  auto b = a;
  b.embedding(7, 2) *= 1 + 2e-6;  // too much for rounding, too little to be seen in outputs
  ModelDecideOptions options;
  EXPECT_EQ(decide_models(held(config, a, f32), held(config, b, f32), options).witness->strength() >= 7,
            false);
  options.witness_factor = 0;  // a finder that takes any tokens
  const ModelDecision decision = decide_models(held(config, a, f32), held(config, b, f32), options);
  expect(ModelVerdict::Undecided, decision);
  EXPECT_NE(decision.reason.find("the checker refuses them"), std::string::npos) << decision.reason;
}

// The noise that outputs have to beat is drawn by bits that depend on all numbers: no model can be made to
// suit it.
TEST(ModelEvidenceTest, NoiseOfTokensDependsOnTheNumbers) {
  const TransformerConfig config = llama_like();
  const auto noise = [&](const TransformerWeights<double>& weights) {
    const HeldModel model = held(config, weights, f32);
    return measure_tokens(model, model, {1, 2, 3}, Outputs::Logits, 7).noise;
  };
  const auto a = random_transformer(config, 22);
  auto b = a;
  b.embedding(1, 2) *= 1 + 1e-6;
  EXPECT_EQ(noise(a), noise(a));
  EXPECT_GT(std::abs(noise(b) / noise(a) - 1), 1e-3);
}

TEST(DecideModels, OneChangedNumberShows) {
  const TransformerConfig config = llama_like();
  const auto a = random_transformer(config, 11);
  const auto edited = [&](auto edit) {
    auto b = a;
    edit(b);
    return decide(config, a, b).reason;
  };
  const auto contains = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  contains(edited([](auto& b) { b.embedding(7, 2) += 0.1; }), "in embeddings");
  contains(edited([](auto& b) { b.unembedding(7, 2) += 0.1; }), "in unembedding");
  contains(edited([](auto& b) { b.blocks[1].attention.groups[0].key(0, 0) += 0.1; }),
           "in block 1: attention");
  contains(edited([](auto& b) { b.blocks[1].mlp.down(4, 0) += 0.1; }), "in block 1: MLP, neuron 4");
  contains(edited([](auto& b) { b.blocks[0].attention_input.gain(3) *= 1.1; }), "in block 0: attention");
  contains(edited([](auto& b) { b.final_norm.gain(3) *= 1.1; }), "in unembedding");
}

TEST(DecideModels, OtherArchitecturesAreToldApartByTokens) {
  const TransformerConfig config = llama_like();
  TransformerConfig other = config;
  other.mlp.activation = Activation::Relu;
  const auto weights = random_transformer(config, 12);
  const ModelDecision decision = decide_models(held(config, weights, f32), held(other, weights, f32));
  expect(ModelVerdict::Distinct, decision);
  EXPECT_NE(decision.reason.find("different activations"), std::string::npos) << decision.reason;
}

}  // namespace
}  // namespace attnsym
