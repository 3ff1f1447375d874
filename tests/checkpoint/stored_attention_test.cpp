#include "checkpoint/read_attention.hpp"
#include "checkpoint/write_attention.hpp"

#include <cmath>
#include <limits>

#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"
#include "tests/checkpoint/temporary_directory.hpp"
#include "tests/checkpoint/tiny_bert.hpp"

namespace attnsym {
namespace {

using testing::expect_error;
using testing::TemporaryDirectory;
using testing::TinyBert;

Checkpoint write_and_open(const TemporaryDirectory& directory, const TinyBert& bert) {
  bert.write(directory.path());
  return Checkpoint::open(directory.path());
}

// All numbers of a stored tensor, row-major.
std::vector<double> numbers_of(const Checkpoint& checkpoint, const std::string& name) {
  const StoredTensor tensor = *checkpoint.find(name);
  std::vector<double> numbers(tensor.info->size() / size_of(tensor.info->dtype));
  decode(tensor.info->dtype, tensor.bytes(), numbers);
  return numbers;
}

// Replaces one tensor of a tiny BERT and opens it.
Checkpoint open_with(const TemporaryDirectory& directory, const NamedTensor& replacement) {
  TinyBert{}.write(directory.path());
  std::vector<NamedTensor> tensors = TinyBert{}.tensors();
  for (NamedTensor& tensor : tensors) {
    if (tensor.name == replacement.name) tensor = replacement;
  }
  testing::write_bytes(directory / "model.safetensors", serialize_safetensors(tensors, {}));
  return Checkpoint::open(directory.path());
}

NamedTensor float_tensor(std::string name, std::vector<std::int64_t> shape,
                         const std::vector<double>& numbers) {
  std::vector<std::byte> bytes(numbers.size() * 4);
  encode(Dtype::F32, numbers, bytes);
  return {std::move(name), Dtype::F32, std::move(shape), std::move(bytes)};
}

TEST(ReadAttention, TakesConfigFromFileAndTensors) {
  const TemporaryDirectory directory;
  const Checkpoint checkpoint = write_and_open(directory, {});
  const AttentionConfig expected{.model_width = 6,
                                 .heads = 3,
                                 .groups = 3,
                                 .key_width = 2,
                                 .value_width = 2,
                                 .query_bias = true,
                                 .key_bias = true,
                                 .value_bias = true,
                                 .output_bias = true,
                                 .causal = false,
                                 .scale = 1 / std::sqrt(2.0)};
  EXPECT_EQ(attention_config(checkpoint, 1), expected);
  EXPECT_EQ(read_attention(checkpoint, 1).config, expected);
  EXPECT_EQ(layer_count(checkpoint), 2);
}

TEST(ReadAttention, SlicesHeadsByTheConventions) {
  const TemporaryDirectory directory;
  const Checkpoint checkpoint = write_and_open(directory, {});
  for (Index layer = 0; layer < 2; ++layer) {
    const std::string stem = "encoder.layer." + std::to_string(layer) + ".attention.";
    const auto stored = [&](const std::string& name) { return numbers_of(checkpoint, stem + name); };
    const AttentionWeights<double> weights = read_attention(checkpoint, layer).weights;
    ASSERT_EQ(weights.groups.size(), 3U);
    for (Index head = 0; head < 3; ++head) {
      const KvGroup<double>& group = weights.groups[head];
      ASSERT_EQ(group.readers.size(), 1U);
      for (Index k = 0; k < 2; ++k) {
        const Index row = 2 * head + k;
        EXPECT_EQ(group.readers[0].query_bias(k), stored("self.query.bias")[row]);
        EXPECT_EQ(group.key_bias(k), stored("self.key.bias")[row]);
        EXPECT_EQ(group.value_bias(k), stored("self.value.bias")[row]);
        for (Index d = 0; d < 6; ++d) {
          EXPECT_EQ(group.readers[0].query(d, k), stored("self.query.weight")[row * 6 + d]);
          EXPECT_EQ(group.key(d, k), stored("self.key.weight")[row * 6 + d]);
          EXPECT_EQ(group.value(d, k), stored("self.value.weight")[row * 6 + d]);
          EXPECT_EQ(group.readers[0].output(k, d), stored("output.dense.weight")[d * 6 + row]);
        }
      }
    }
    for (Index d = 0; d < 6; ++d) EXPECT_EQ(weights.output_bias(d), stored("output.dense.bias")[d]);
  }
}

TEST(ReadAttention, GroupsOfReadersShareKeys) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory.path());
  testing::write_text(
      directory / "config.json",
      R"({"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 4, "num_attention_heads": 4,
                          "num_key_value_heads": 2, "head_dim": 4})");
  std::vector<NamedTensor> tensors;
  const auto add = [&](const std::string& name, std::int64_t out, std::int64_t in) {
    std::vector<double> numbers;
    for (int i = 0; i < out * in; ++i) numbers.push_back(i + 100 * static_cast<double>(tensors.size()));
    tensors.push_back(float_tensor("layers.0.self_attn." + name + ".weight", {out, in}, numbers));
  };
  add("q_proj", 16, 4);
  add("k_proj", 8, 4);
  add("v_proj", 8, 4);
  add("o_proj", 4, 16);
  testing::write_bytes(directory / "model.safetensors", serialize_safetensors(tensors, {}));

  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  const StoredAttention module = read_attention(checkpoint, 0);
  EXPECT_EQ(module.config.groups, 2);
  EXPECT_FALSE(module.config.query_bias || module.config.output_bias);
  // Head 3 is reader 1 of group 1.
  EXPECT_EQ(module.weights.groups[1].readers[1].query(1, 2), (12 + 2) * 4 + 1);
  EXPECT_EQ(module.weights.groups[1].key(1, 2), 100 + (4 + 2) * 4 + 1);
  EXPECT_EQ(module.weights.groups[1].readers[1].output(2, 1), 300 + 1 * 16 + 12 + 2);
  const std::vector<NamedTensor> back = attention_tensors(checkpoint, 0, module.weights);
  ASSERT_EQ(back.size(), 4U);
  for (std::size_t i = 0; i < back.size(); ++i) EXPECT_EQ(back[i].bytes, tensors[i].bytes);
}

TEST(ReadAttention, VarianceIsThatOfTheDtype) {
  for (const Dtype dtype : {Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16}) {
    const TemporaryDirectory directory;
    const StoredAttention module = read_attention(write_and_open(directory, {.dtype = dtype}), 0);
    const auto expect_radius = [&](const auto& weights, const auto& radius) {
      ASSERT_EQ(weights.size(), radius.size());
      for (Index i = 0; i < weights.size(); ++i) {
        EXPECT_EQ(radius.data()[i], rounding_radius(dtype, weights.data()[i]));
      }
    };
    expect_radius(module.weights.groups[2].key, module.radius.groups[2].key);
    expect_radius(module.weights.groups[1].readers[0].output, module.radius.groups[1].readers[0].output);
    expect_radius(module.weights.output_bias, module.radius.output_bias);
  }
}

TEST(ReadAttention, LeavesAbsentBiasesEmpty) {
  const TemporaryDirectory directory;
  const StoredAttention module = read_attention(write_and_open(directory, {.biases = false}), 0);
  EXPECT_FALSE(module.config.key_bias);
  EXPECT_EQ(module.weights.groups[0].key_bias.size(), 0);
  EXPECT_EQ(module.weights.output_bias.size(), 0);
}

TEST(ReadAttention, NamesAnEntryThatIsNotFinite) {
  const TemporaryDirectory directory;
  const std::string name = "encoder.layer.1.attention.output.dense.weight";
  std::vector<double> numbers(36, 1.0);
  numbers[4 * 6 + 3] = std::numeric_limits<double>::quiet_NaN();
  const Checkpoint checkpoint = open_with(directory, float_tensor(name, {6, 6}, numbers));
  expect_error<FormatError>([&] { read_attention(checkpoint, 1); },
                            {"model.safetensors", name, "[4, 3]", "nan"});
  read_attention(checkpoint, 0);
}

TEST(ReadAttention, NamesBothShapesWhenTheyDisagree) {
  const TemporaryDirectory directory;
  const std::string name = "encoder.layer.0.attention.self.key.weight";
  const Checkpoint checkpoint =
      open_with(directory, float_tensor(name, {4, 6}, std::vector<double>(24, 1.0)));
  expect_error<ShapeError>([&] { read_attention(checkpoint, 0); }, {name, "[4, 6]", "[6, 6]"});
  expect_error<ShapeError>([&] { attention_config(checkpoint, 0); }, {name});
}

TEST(ReadAttention, RefusesIntegers) {
  const TemporaryDirectory directory;
  const std::string name = "encoder.layer.0.attention.self.key.weight";
  const Checkpoint checkpoint = open_with(directory, {name, Dtype::I8, {6, 6}, std::vector<std::byte>(36)});
  expect_error<FormatError>([&] { read_attention(checkpoint, 0); }, {name, "I8"});
}

TEST(AttentionTensors, InvertReadAttentionBitForBit) {
  for (const Dtype dtype : {Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16}) {
    const TemporaryDirectory directory;
    const Checkpoint checkpoint = write_and_open(directory, {.prefix = "bert.", .dtype = dtype});
    const auto stored = stored_attention_tensors(checkpoint, 1);
    const auto written = attention_tensors(checkpoint, 1, read_attention(checkpoint, 1).weights);
    ASSERT_EQ(written.size(), 8U);
    for (std::size_t i = 0; i < written.size(); ++i) {
      EXPECT_EQ(written[i].name, stored[i].info->name);
      EXPECT_EQ(written[i].dtype, stored[i].info->dtype);
      EXPECT_EQ(written[i].shape, stored[i].info->shape);
      EXPECT_TRUE(std::ranges::equal(written[i].bytes, stored[i].bytes()));
    }
  }
}

TEST(AttentionTensors, StoreAsAnotherDtype) {
  const TemporaryDirectory directory;
  const Checkpoint checkpoint = write_and_open(directory, {});
  const auto written = attention_tensors(checkpoint, 0, read_attention(checkpoint, 0).weights, Dtype::BF16);
  EXPECT_EQ(written[0].dtype, Dtype::BF16);
  ASSERT_EQ(written[0].bytes.size(), 72U);
  std::vector<double> numbers(36);
  decode(Dtype::BF16, written[0].bytes, numbers);
  EXPECT_EQ(numbers, numbers_of(checkpoint, written[0].name));
}

TEST(AttentionTensors, RefuseWhatCannotBeStored) {
  const TemporaryDirectory directory;
  const Checkpoint checkpoint = write_and_open(directory, {});
  const AttentionWeights<double> sound = read_attention(checkpoint, 0).weights;
  const auto with_key = [&](double entry) {
    AttentionWeights<double> weights = sound;
    weights.groups[1].key(5, 1) = entry;
    return weights;
  };
  const std::string name = "encoder.layer.0.attention.self.key.weight";
  expect_error<FormatError>([&] { attention_tensors(checkpoint, 0, with_key(1e6), Dtype::F16); },
                            {name, "too large"});
  expect_error<FormatError>([&] { attention_tensors(checkpoint, 0, with_key(INFINITY)); },
                            {name, "[3, 5]", "inf"});
  AttentionWeights<double> short_of_one = sound;
  short_of_one.groups.pop_back();
  expect_error<ShapeError>([&] { attention_tensors(checkpoint, 0, short_of_one); }, {});
}

TEST(InputRadius, BoundsTheNormInFront) {
  const TemporaryDirectory directory;
  const Checkpoint checkpoint = write_and_open(directory, {});
  for (Index layer = 0; layer < 2; ++layer) {
    const std::string stem = layer == 0 ? "embeddings.LayerNorm." : "encoder.layer.0.output.LayerNorm.";
    double largest = 0;
    for (const double gain : numbers_of(checkpoint, stem + (layer == 0 ? "weight" : "gamma"))) {
      largest = std::max(largest, std::abs(gain));
    }
    double square = 0;
    for (const double bias : numbers_of(checkpoint, stem + (layer == 0 ? "bias" : "beta")))
      square += bias * bias;
    EXPECT_DOUBLE_EQ(input_radius(checkpoint, layer).value(), std::sqrt(6.0) * largest + std::sqrt(square));
  }
}

TEST(InputRadius, IsAbsentWithoutTheNorm) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory.path());
  std::vector<NamedTensor> tensors = TinyBert{}.tensors();
  std::erase_if(tensors,
                [](const NamedTensor& tensor) { return tensor.name == "embeddings.LayerNorm.bias"; });
  testing::write_bytes(directory / "model.safetensors", serialize_safetensors(tensors, {}));
  EXPECT_EQ(input_radius(Checkpoint::open(directory.path()), 0), std::nullopt);
}

}  // namespace
}  // namespace attnsym
