#include "checkpoint/checkpoint.hpp"

#include <nlohmann/json.hpp>
#include <string>

#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"
#include "tests/checkpoint/temporary_directory.hpp"
#include "tests/checkpoint/tiny_bert.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;
using testing::TemporaryDirectory;
using testing::TinyBert;

constexpr const char* first_shard = "model-00001-of-00002.safetensors";
constexpr const char* second_shard = "model-00002-of-00002.safetensors";
constexpr const char* index_name = "model.safetensors.index.json";

TEST(Checkpoint, OpensADirectory) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory.path());
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  EXPECT_TRUE(checkpoint.is_directory());
  EXPECT_EQ(checkpoint.config().heads, 3);
  EXPECT_EQ(checkpoint.layout().model_type, "bert");
  EXPECT_EQ(checkpoint.prefix(), "");
  EXPECT_EQ(checkpoint.files().size(), 1U);
  EXPECT_EQ(checkpoint.weight_bytes(), fs::file_size(directory / "model.safetensors"));
  EXPECT_FALSE(checkpoint.index_path());
  EXPECT_TRUE(checkpoint.find("embeddings.LayerNorm.weight"));
  EXPECT_FALSE(checkpoint.find("embeddings"));
  EXPECT_EQ(checkpoint.require(checkpoint.layout().key.bias, 1).info->name,
            "encoder.layer.1.attention.self.key.bias");
}

TEST(Checkpoint, FindsThePrefix) {
  const TemporaryDirectory directory;
  TinyBert{.prefix = "bert."}.write(directory.path());
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(checkpoint.prefix(), "bert.");
  EXPECT_TRUE(checkpoint.find(checkpoint.layout().query.weight, 0));
}

TEST(Checkpoint, OpensAFileWithAConfig) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory.path());
  const Checkpoint checkpoint = Checkpoint::open(directory / "model.safetensors", directory / "config.json");
  EXPECT_FALSE(checkpoint.is_directory());
  EXPECT_EQ(checkpoint.config().layers, 2);
  expect_error<FormatError>([&] { Checkpoint::open(directory / "model.safetensors"); },
                            {"model.safetensors", "--config"});
}

TEST(Checkpoint, OpensShards) {
  const TemporaryDirectory directory;
  TinyBert{}.write_sharded(directory.path());
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  ASSERT_EQ(checkpoint.files().size(), 2U);
  EXPECT_EQ(checkpoint.index_path(), directory / index_name);
  EXPECT_EQ(checkpoint.find("encoder.layer.1.attention.self.key.bias")->file, &checkpoint.files()[1]);
  EXPECT_EQ(checkpoint.find("embeddings.LayerNorm.bias")->file, &checkpoint.files()[0]);
}

TEST(Checkpoint, NamesWhatIsMissing) {
  const TemporaryDirectory directory;
  expect_error<IoError>([&] { Checkpoint::open(directory / "none"); }, {"none", "No such file"});
  expect_error<IoError>([&] { Checkpoint::open(directory.path()); }, {"config.json", "No such file"});
  TinyBert{}.write(directory.path());
  fs::remove(directory / "model.safetensors");
  expect_error<IoError>([&] { Checkpoint::open(directory.path()); }, {"neither model.safetensors nor"});
}

TEST(Checkpoint, RefusesAConfigOfAnotherModel) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory.path());
  testing::write_text(directory / "three.json",
                      R"({"model_type": "bert", "num_hidden_layers": 3, "hidden_size": 6,
                                                   "num_attention_heads": 3})");
  expect_error<FormatError>([&] { Checkpoint::open(directory.path(), directory / "three.json"); },
                            {"'encoder.layer.2.attention.self.query.weight' is missing"});
  testing::write_bytes(directory / "model.safetensors", serialize_safetensors({}, {}));
  expect_error<FormatError>([&] { Checkpoint::open(directory.path()); },
                            {"'bert.'", "not a bert checkpoint"});
}

TEST(Checkpoint, RefusesTwoModelsInOne) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory.path());
  std::vector<NamedTensor> both = TinyBert{}.tensors();
  for (NamedTensor& tensor : TinyBert{.prefix = "bert."}.tensors()) {
    if (tensor.name.starts_with("bert.")) both.push_back(std::move(tensor));
  }
  testing::write_bytes(directory / "model.safetensors", serialize_safetensors(both, {}));
  expect_error<FormatError>([&] { Checkpoint::open(directory.path()); }, {"two models", "''", "'bert.'"});
}

// Opens a checkpoint that has one more tensor.
void open_with(const TemporaryDirectory& directory, const std::string& name) {
  TinyBert{}.write(directory.path());
  std::vector<NamedTensor> tensors = TinyBert{}.tensors();
  tensors.push_back({name, Dtype::F32, {6, 6}, std::vector<std::byte>(6 * 6 * 4)});
  testing::write_bytes(directory / "model.safetensors", serialize_safetensors(tensors, {}));
  Checkpoint::open(directory.path());
}

TEST(Checkpoint, RefusesAttentionThatItWouldIgnore) {
  const TemporaryDirectory directory;
  for (const std::string name :
       {"encoder.layer.2.attention.self.query.weight", "encoder.layer.17.attention.output.dense.weight"}) {
    expect_error<FormatError>([&] { open_with(directory, name); },
                              {"model.safetensors", name, "a layer that config.json does not have"});
  }
  const std::string cross = "encoder.layer.0.crossattention.self.key.weight";
  expect_error<FormatError>([&] { open_with(directory, cross); },
                            {"model.safetensors", cross, "cross-attention, which is not supported"});
  const std::string norm = "encoder.layer.0.attention.self.q_norm.weight";
  expect_error<FormatError>([&] { open_with(directory, norm); },
                            {"model.safetensors", norm, "normalises queries or keys", "bert"});
  const std::string sinks = "encoder.layer.0.attention.self.sinks";
  expect_error<FormatError>([&] { open_with(directory, sinks); }, {"model.safetensors", sinks, "not read"});
  EXPECT_NO_THROW(open_with(directory, "decoder.layer.2.attention.self.query.weight"));
}

// Opens a sharded checkpoint after a change to its weight_map.
template <class Change>
void open_changed_index(const TemporaryDirectory& directory, Change change) {
  TinyBert{}.write_sharded(directory.path());
  auto index = nlohmann::json::parse(testing::read_text(directory / index_name));
  change(index["weight_map"]);
  testing::write_text(directory / index_name, index.dump());
  Checkpoint::open(directory.path());
}

TEST(ShardedCheckpoint, RefusesAnIndexThatLies) {
  const TemporaryDirectory directory;
  const auto with = [&](std::string tensor, std::string file) {
    return [&directory, tensor, file] {
      open_changed_index(directory, [&](auto& weight_map) { weight_map[tensor] = file; });
    };
  };
  expect_error<FormatError>(with("ghost", first_shard), {index_name, "'ghost' is not in", first_shard});
  expect_error<FormatError>(with("embeddings.LayerNorm.bias", second_shard),
                            {"embeddings.LayerNorm.bias", "is not in"});
  expect_error<FormatError>(with("embeddings.LayerNorm.bias", "../x.safetensors"),
                            {"../x.safetensors", "inside"});
  expect_error<IoError>(with("embeddings.LayerNorm.bias", "third.safetensors"),
                        {"third.safetensors", "No such file"});
}

TEST(ShardedCheckpoint, RefusesATensorInTwoShards) {
  const TemporaryDirectory directory;
  TinyBert{}.write_sharded(directory.path());
  testing::write_bytes(directory / first_shard, serialize_safetensors(TinyBert{}.tensors(), {}));
  expect_error<FormatError>([&] { Checkpoint::open(directory.path()); },
                            {second_shard, "is also in", first_shard});
}

}  // namespace
}  // namespace attnsym
