// Whole models read and written: models/tiny-llama, and small ones made here with the serializer.
#include "checkpoint/checkpoint_model.hpp"

#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/model_tensors.hpp"
#include "checkpoint/rewrite.hpp"
#include "checkpoint/unread_tensors.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/random.hpp"
#include "tests/checkpoint/expect_error.hpp"
#include "tests/checkpoint/temporary_directory.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::expect_error;
using testing::TemporaryDirectory;

using Shapes = std::map<std::string, std::vector<std::int64_t>>;

// A model of D 4, two heads, one layer, 6 neurons, 5 tokens.
struct Small {
  json config;
  Shapes shapes;
  std::string layout;

  void write(const fs::path& directory) const {
    std::vector<NamedTensor> tensors;
    Random random(7);
    for (const auto& [name, shape] : shapes) {
      NamedTensor tensor{name, Dtype::F32, shape, {}};
      std::size_t count = 1;
      for (const std::int64_t extent : shape) count *= static_cast<std::size_t>(extent);
      std::vector<double> numbers(count);
      for (double& number : numbers) number = random.uniform();
      tensor.bytes.resize(count * sizeof(float));
      encode(Dtype::F32, numbers, tensor.bytes);
      tensors.push_back(std::move(tensor));
    }
    const auto bytes = serialize_safetensors(std::move(tensors), {});
    std::ofstream(directory / "config.json") << config.dump();
    std::ofstream(directory / "model.safetensors", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
};

Small llama() {
  const std::string layer = "model.layers.0.";
  return {{{"model_type", "llama"}, {"hidden_size", 4}, {"num_hidden_layers", 1}, {"num_attention_heads", 2}},
          {{"model.embed_tokens.weight", {5, 4}},
           {layer + "input_layernorm.weight", {4}},
           {layer + "self_attn.q_proj.weight", {4, 4}},
           {layer + "self_attn.k_proj.weight", {4, 4}},
           {layer + "self_attn.v_proj.weight", {4, 4}},
           {layer + "self_attn.o_proj.weight", {4, 4}},
           {layer + "post_attention_layernorm.weight", {4}},
           {layer + "mlp.gate_proj.weight", {6, 4}},
           {layer + "mlp.up_proj.weight", {6, 4}},
           {layer + "mlp.down_proj.weight", {4, 6}},
           {"model.norm.weight", {4}},
           {"lm_head.weight", {5, 4}}},
          {}};
}

Small gpt2() {
  const std::string layer = "h.0.";
  return {{{"model_type", "gpt2"}, {"n_embd", 4}, {"n_layer", 1}, {"n_head", 2}},
          {{"wte.weight", {5, 4}},
           {"wpe.weight", {7, 4}},
           {layer + "ln_1.weight", {4}},
           {layer + "ln_1.bias", {4}},
           {layer + "attn.bias", {1, 1, 7, 7}},
           {layer + "attn.c_attn.weight", {4, 12}},
           {layer + "attn.c_attn.bias", {12}},
           {layer + "attn.c_proj.weight", {4, 4}},
           {layer + "attn.c_proj.bias", {4}},
           {layer + "ln_2.weight", {4}},
           {layer + "ln_2.bias", {4}},
           {layer + "mlp.c_fc.weight", {4, 6}},
           {layer + "mlp.c_fc.bias", {6}},
           {layer + "mlp.c_proj.weight", {6, 4}},
           {layer + "mlp.c_proj.bias", {4}},
           {"ln_f.weight", {4}},
           {"ln_f.bias", {4}}},
          {}};
}

// Images of 2 channels in 3 patches of 1 x 2.
Small vit() {
  const std::string layer = "encoder.layer.0.";
  Small model{
      {{"model_type", "vit"}, {"hidden_size", 4}, {"num_hidden_layers", 1}, {"num_attention_heads", 2}},
      {{"embeddings.cls_token", {1, 1, 4}},
       {"embeddings.position_embeddings", {1, 4, 4}},
       {"embeddings.patch_embeddings.projection.weight", {4, 2, 1, 2}},
       {"embeddings.patch_embeddings.projection.bias", {4}},
       {layer + "intermediate.dense.weight", {6, 4}},
       {layer + "intermediate.dense.bias", {6}},
       {layer + "output.dense.weight", {4, 6}},
       {layer + "output.dense.bias", {4}}},
      {}};
  for (const char* part : {"attention.attention.query", "attention.attention.key",
                           "attention.attention.value", "attention.output.dense"}) {
    model.shapes[layer + part + ".weight"] = {4, 4};
    model.shapes[layer + part + ".bias"] = {4};
  }
  for (const std::string& norm :
       {layer + "layernorm_before", layer + "layernorm_after", std::string("layernorm")}) {
    model.shapes[norm + ".weight"] = {4};
    model.shapes[norm + ".bias"] = {4};
  }
  return model;
}

Small bert() {
  const std::string layer = "bert.encoder.layer.0.";
  Small model{
      {{"model_type", "bert"}, {"hidden_size", 4}, {"num_hidden_layers", 1}, {"num_attention_heads", 2}},
      {{"bert.embeddings.word_embeddings.weight", {5, 4}},
       {"bert.embeddings.position_embeddings.weight", {7, 4}},
       {"bert.embeddings.token_type_embeddings.weight", {2, 4}},
       {layer + "intermediate.dense.weight", {6, 4}},
       {layer + "intermediate.dense.bias", {6}},
       {layer + "output.dense.weight", {4, 6}},
       {layer + "output.dense.bias", {4}}},
      {}};
  for (const char* part :
       {"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"}) {
    model.shapes[layer + part + ".weight"] = {4, 4};
    model.shapes[layer + part + ".bias"] = {4};
  }
  for (const std::string& norm : {std::string("bert.embeddings.LayerNorm"),
                                  layer + "attention.output.LayerNorm", layer + "output.LayerNorm"}) {
    model.shapes[norm + ".weight"] = {4};
    model.shapes[norm + ".bias"] = {4};
  }
  return model;
}

Small of_class(Small model, const char* name, const Shapes& more = {}) {
  model.config["architectures"] = {name};
  model.shapes.insert(more.begin(), more.end());
  return model;
}

const Shapes pooler{{"bert.pooler.dense.weight", {4, 4}}, {"bert.pooler.dense.bias", {4}}};
const Shapes classifier{{"classifier.weight", {3, 4}}, {"classifier.bias", {3}}};
const Shapes predictions{{"cls.predictions.transform.dense.weight", {4, 4}},
                         {"cls.predictions.transform.dense.bias", {4}},
                         {"cls.predictions.transform.LayerNorm.weight", {4}},
                         {"cls.predictions.transform.LayerNorm.bias", {4}},
                         {"cls.predictions.bias", {5}}};

Small pooled_classes() {
  Small model = of_class(bert(), "BertForSequenceClassification", classifier);
  model.shapes.insert(pooler.begin(), pooler.end());
  return model;
}

// Another decoder than the embeddings, whose bias is its own.
Small untied_words() {
  Small model = of_class(bert(), "BertForMaskedLM", predictions);
  model.config["tie_word_embeddings"] = false;
  model.shapes.erase("cls.predictions.bias");
  model.shapes["cls.predictions.decoder.weight"] = {5, 4};
  model.shapes["cls.predictions.decoder.bias"] = {5};
  return model;
}

Small phi3() {
  Small model = llama();
  const std::string layer = "model.layers.0.";
  model.config["model_type"] = "phi3";
  for (const char* part :
       {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"})
    model.shapes.erase(layer + part + ".weight");
  model.shapes[layer + "self_attn.qkv_proj.weight"] = {12, 4};
  model.shapes[layer + "mlp.gate_up_proj.weight"] = {12, 4};
  return model;
}

// Every tensor that is written has the bytes that were read.
void expect_round_trip(const Small& small) {
  const TemporaryDirectory directory;
  small.write(directory.path());
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  const CheckpointModel model(checkpoint);
  std::vector<NamedTensor> written = outside_tensors(checkpoint, read_outside(model));
  for (NamedTensor& tensor : block_tensors(checkpoint, 0, read_block(model, 0).value))
    written.push_back(std::move(tensor));
  std::set<std::string> names;
  for (const NamedTensor& tensor : written) {
    names.insert(tensor.name);
    const StoredTensor stored = *checkpoint.find(tensor.name);
    EXPECT_EQ(tensor.shape, stored.info->shape) << tensor.name;
    EXPECT_TRUE(std::ranges::equal(tensor.bytes, stored.bytes())) << tensor.name;
  }
  EXPECT_EQ(names, model_tensor_names(checkpoint));
}

TEST(CheckpointModel, WritesWhatItRead) {
  for (const Small& small :
       {llama(), gpt2(), phi3(), vit(), bert(), of_class(bert(), "BertModel", pooler),
        of_class(bert(), "BertForMaskedLM", predictions), pooled_classes(), untied_words(),
        of_class(gpt2(), "GPT2ForSequenceClassification", {{"score.weight", {3, 4}}}),
        of_class(vit(), "ViTForImageClassification", classifier)})
    expect_round_trip(small);
}

// Every tensor is read or listed, and what the outputs are depends on the class alone.
TEST(CheckpointModel, TheClassSaysWhatTheOutputsAre) {
  struct Row {
    Small model;
    Head head;
    Index outputs;  // of tasks
    std::vector<std::string> unread;
  };
  Small tied_base = of_class(llama(), "LlamaModel");
  tied_base.config["tie_word_embeddings"] = true;  // to a head that this class has not
  Small both = of_class(bert(), "BertForMaskedLM", predictions);
  both.shapes.insert(pooler.begin(), pooler.end());
  const std::string buffer = "h.0.attn.bias";
  const Row rows[] = {
      {gpt2(), Head::Tied, 0, {buffer}},
      {of_class(gpt2(), "GPT2LMHeadModel"), Head::Tied, 0, {buffer}},
      {of_class(gpt2(), "GPT2Model"), Head::None, 0, {buffer}},
      {llama(), Head::Own, 0, {}},
      {of_class(llama(), "LlamaForCausalLM"), Head::Own, 0, {}},
      {tied_base, Head::None, 0, {"lm_head.weight"}},
      {of_class(llama(), "LlamaForTokenClassification", {{"score.weight", {3, 4}}, {"score.bias", {3}}}),
       Head::Tasks,
       3,
       {"lm_head.weight"}},
      {bert(), Head::None, 0, {}},
      {of_class(bert(), "BertModel"), Head::None, 0, {}},
      {of_class(bert(), "BertModel", pooler), Head::None, 4, {}},
      {pooled_classes(), Head::Tasks, 3, {}},
      {both, Head::Tied, 0, {"bert.pooler.dense.bias", "bert.pooler.dense.weight"}},
      {untied_words(), Head::Own, 0, {}},
      {of_class(vit(), "ViTForImageClassification", classifier), Head::Tasks, 3, {}},
  };
  for (const Row& row : rows) {
    const TemporaryDirectory directory;
    row.model.write(directory.path());
    const Checkpoint checkpoint = Checkpoint::open(directory.path());
    const TransformerConfig config = CheckpointModel(checkpoint).config();
    const std::string name = row.model.config.dump();
    EXPECT_EQ(config.head, row.head) << name;
    EXPECT_EQ(config.output_width() - config.head_width(), row.outputs) << name;
    EXPECT_EQ(tensors_not_read(checkpoint), row.unread) << name;
    EXPECT_TRUE(tensors_unknown_to_family(checkpoint).empty()) << name;
  }
}

TEST(CheckpointModel, RefusesClassesAndTensorsThatNoClassHas) {
  const auto refused = [](const Small& small, std::initializer_list<std::string_view> words) {
    const TemporaryDirectory directory;
    small.write(directory.path());
    const Checkpoint checkpoint = Checkpoint::open(directory.path());
    expect_error<FormatError>([&] { CheckpointModel{checkpoint}; }, words);
    return tensors_unknown_to_family(checkpoint);
  };
  refused(of_class(gpt2(), "GPT2DoubleHeadsModel"),
          {"GPT2DoubleHeadsModel", "GPT2LMHeadModel", "--scope attention"});
  refused(of_class(llama(), "MistralForCausalLM"), {"MistralForCausalLM", "LlamaForCausalLM"});
  refused(of_class(bert(), "BertForSequenceClassification", classifier),
          {"bert.pooler.dense.weight", "is missing", "BertForSequenceClassification"});
  Small headless = of_class(llama(), "LlamaForCausalLM");
  headless.shapes.erase("lm_head.weight");
  refused(headless, {"lm_head.weight", "LlamaForCausalLM"});
  Small other_bias = of_class(bert(), "BertForMaskedLM", predictions);
  other_bias.shapes["cls.predictions.decoder.bias"] = {5};  // other random numbers
  refused(other_bias, {"cls.predictions.decoder.bias", "tied"});
  // Names that another family has, or that only look like buffers or heads.
  const auto unknown = [&](Small small, const char* name) {
    small.shapes[name] = {4};
    EXPECT_EQ(refused(small, {name, "has no place"}), std::vector<std::string>{name});
  };
  unknown(llama(), "classifier.score.weight");
  unknown(llama(), "model.layers.0.attention.bias");
  unknown(llama(), "model.layers.1.self_attn.rotary_emb.inv_freq");
  unknown(llama(), "vision_tower.embeddings.position_ids");
  unknown(vit(), "embeddings.mask_token");
  unknown(bert(), "cls.seq_relationship.dense.weight");
  unknown(gpt2(), "h.0.attn.bias.weight");
}

// Tokens of images are the numbers of a patch; the bias of patches and the class token are types.
TEST(CheckpointModel, ReadsImagesAsTokens) {
  const TemporaryDirectory directory;
  vit().write(directory.path());
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  const CheckpointModel model(checkpoint);
  const TransformerConfig& config = model.config();
  EXPECT_TRUE(config.class_token);
  EXPECT_EQ(config.vocabulary, 4);
  EXPECT_EQ(config.token_ids(), 5);
  EXPECT_EQ(config.positions, 4);
  EXPECT_EQ(config.head, Head::None);
  const auto numbers = [&](const char* name) {
    const StoredTensor tensor = *checkpoint.find(name);
    std::vector<double> all(element_count(tensor.info->shape).value());
    read_numbers(tensor, 0, all, {}, Radii::Decoded);
    return all;
  };
  const std::vector<double> projection = numbers("embeddings.patch_embeddings.projection.weight");
  const StoredMatrix embedding = model.rows(Table::Embedding, 1, 2);
  EXPECT_EQ(embedding.value(0, 3), projection[3 * 4 + 1]);
  EXPECT_EQ(embedding.value(1, 2), projection[2 * 4 + 2]);
  const StoredMatrix types = model.rows(Table::TokenTypes, 0, 2);
  EXPECT_EQ(types.value(0, 2), numbers("embeddings.patch_embeddings.projection.bias")[2]);
  EXPECT_EQ(types.value(1, 3), numbers("embeddings.cls_token")[3]);
}

TEST(CheckpointModel, ReadsConfigurationAndShapes) {
  const TemporaryDirectory directory;
  gpt2().write(directory.path());
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  const CheckpointModel model(checkpoint);
  const TransformerConfig& config = model.config();
  EXPECT_EQ(config.vocabulary, 5);
  EXPECT_EQ(config.positions, 7);
  EXPECT_EQ(config.mlp.width, 6);
  EXPECT_EQ(config.mlp.activation, Activation::GeluTanh);
  EXPECT_EQ(config.head, Head::Tied);
  EXPECT_EQ(config.norm, NormKind::Layer);
  EXPECT_TRUE(config.mlp.input_bias && config.mlp.output_bias && config.final_norm);
}

// Some neurons, in any order, are those of the whole.
TEST(CheckpointModel, ReadsAnyNeurons) {
  for (const Small& small : {llama(), gpt2(), phi3()}) {
    const TemporaryDirectory directory;
    small.write(directory.path());
    const Checkpoint checkpoint = Checkpoint::open(directory.path());
    const CheckpointModel model(checkpoint);
    const StoredMlp all = read_mlp(model, 0);
    const StoredNeurons some = model.neurons(0)->read(std::vector<Index>{4, 1, 5});
    const Index width = model.config().model_width;
    EXPECT_EQ(some.up.value.col(0).head(width), all.value.up.col(4));
    EXPECT_EQ(some.down.value.col(2).transpose(), all.value.down.row(5));
    EXPECT_EQ(some.down.radius.col(1).transpose(), all.radius.down.row(1));
    if (all.value.gate.size() > 0) {
      EXPECT_EQ(some.gate.value.col(1).head(width), all.value.gate.col(1));
    }
    EXPECT_EQ(some.up.value(width, 2), all.value.up_bias.size() > 0 ? all.value.up_bias(5) : 0);
  }
}

TEST(CheckpointModel, RefusesWhatIsNotTheModelOfTheTable) {
  const auto refused = [](const Small& small, std::initializer_list<std::string_view> words) {
    const TemporaryDirectory directory;
    small.write(directory.path());
    const Checkpoint checkpoint = Checkpoint::open(directory.path());
    expect_error<std::runtime_error>([&] { CheckpointModel{checkpoint}; }, words);
  };
  Small patches = vit();
  patches.shapes["embeddings.patch_embeddings.projection.weight"] = {4, 4};
  refused(patches, {"projection.weight", "is [4, 4], expected width, channels"});
  Small small = llama();
  small.shapes["model.layers.0.mlp.experts.0.weight"] = {4, 4};
  refused(small, {"experts", "has no place in a llama model"});
  small = llama();
  small.shapes.erase("model.norm.weight");
  refused(small, {"model.norm.weight", "is missing"});
  small = llama();
  small.shapes["model.layers.0.mlp.up_proj.weight"] = {7, 4};
  refused(small, {"up_proj.weight", "[7, 4]", "[6, 4]"});
  small = llama();
  small.config["hidden_act"] = "mish";
  refused(small, {"mish", "expected one of"});
  small = llama();
  small.config["tie_word_embeddings"] = true;
  refused(small, {"lm_head.weight", "ties"});
  small = llama();
  small.config["rms_norm_eps"] = 1e-6;
  small.shapes["model.layers.0.mlp.up_proj.bias"] = {6};
  refused(small, {"up_proj.bias", "'mlp_bias' is false"});
}

}  // namespace
}  // namespace attnsym
