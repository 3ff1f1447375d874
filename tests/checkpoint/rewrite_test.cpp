#include "checkpoint/rewrite.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <random>

#include "checkpoint/output_list.hpp"
#include "checkpoint/read_attention.hpp"
#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"
#include "tests/checkpoint/temporary_directory.hpp"
#include "tests/checkpoint/tiny_bert.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;
using testing::same_tree;
using testing::TemporaryDirectory;
using testing::TinyBert;

bool is_attention(const std::string& name) {
  return name.ends_with("attention.output.dense.weight") || name.ends_with("attention.output.dense.bias") ||
         (name.find("attention.self.") != std::string::npos && !name.ends_with("self.r"));
}

// Every number of a module doubled: exact in all dtypes and different everywhere.
AttentionWeights<double> doubled(AttentionWeights<double> weights) {
  for_each_slot(weights, [](auto& slot) { slot *= 2; });
  return weights;
}

void rewrite_doubled(const Checkpoint& source, const fs::path& out, std::optional<Dtype> store_as = {}) {
  CheckpointRewrite rewrite(source, out, Overwrite::No, store_as);
  for (Index layer = 0; layer < layer_count(source); ++layer) {
    rewrite.write_attention(layer, doubled(read_attention(source, layer).weights));
  }
  rewrite.commit();
}

void expect_doubled(const Checkpoint& source, const Checkpoint& out) {
  for (Index layer = 0; layer < layer_count(source); ++layer) {
    EXPECT_EQ(read_attention(out, layer).weights, doubled(read_attention(source, layer).weights));
  }
  ASSERT_EQ(source.files().size(), out.files().size());
  for (std::size_t i = 0; i < source.files().size(); ++i) {
    EXPECT_EQ(source.files()[i].metadata(), out.files()[i].metadata());
    ASSERT_EQ(source.files()[i].tensors().size(), out.files()[i].tensors().size());
    for (const TensorInfo& tensor : source.files()[i].tensors()) {
      const StoredTensor copy = out.find(tensor.name).value();
      EXPECT_EQ(copy.file, &out.files()[i]);
      EXPECT_EQ(copy.info->shape, tensor.shape);
      if (is_attention(tensor.name)) continue;
      EXPECT_TRUE(std::ranges::equal(copy.bytes(), source.files()[i].bytes(tensor)));
    }
  }
}

void expect_same_order(const TensorFile& a, const TensorFile& b) {
  for (std::size_t i = 0; i < a.tensors().size(); ++i) EXPECT_EQ(a.tensors()[i].name, b.tensors()[i].name);
}

// But for the list of what is in it.
bool is_copy(const fs::path& source, const fs::path& out) {
  const fs::path list = out / output_list_name;
  if (!fs::exists(list)) return false;
  const fs::path aside = out.parent_path() / "list";
  fs::rename(list, aside);
  const bool same = same_tree(source, out);
  fs::rename(aside, list);
  return same;
}

TEST(Rewrite, WithoutChangesIsACopyBitForBit) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "single");
  TinyBert{.dtype = Dtype::F16}.write_sharded(directory / "sharded");
  for (const char* name : {"single", "sharded"}) {
    const Checkpoint source = Checkpoint::open(directory / name);
    CheckpointRewrite(source, directory / "out", Overwrite::Yes).commit();
    EXPECT_TRUE(is_copy(directory / name, directory / "out")) << name;
  }
}

TEST(Rewrite, ReplacesAttentionAndKeepsTheHeader) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "in");
  const Checkpoint source = Checkpoint::open(directory / "in/");
  rewrite_doubled(source, directory / "out/");
  const Checkpoint out = Checkpoint::open(directory / "out");
  expect_doubled(source, out);
  const auto head_of = [](const Checkpoint& checkpoint) {
    return testing::read_text(checkpoint.files()[0].path())
        .substr(0, checkpoint.files()[0].header().data_offset);
  };
  EXPECT_EQ(head_of(source), head_of(out));
  EXPECT_EQ(testing::read_text(directory / "out/1_Pooling/config.json"), "{\"pooling\": \"mean\"}\n");
  EXPECT_EQ(testing::read_text(directory / "out/config.json"),
            testing::read_text(directory / "in/config.json"));
}

TEST(Rewrite, OfAFileIsAFile) {
  const TemporaryDirectory directory;
  TinyBert{.prefix = "bert."}.write(directory / "in");
  const Checkpoint source =
      Checkpoint::open(directory / "in/model.safetensors", directory / "in/config.json");
  rewrite_doubled(source, directory / "out.safetensors");
  expect_doubled(source, Checkpoint::open(directory / "out.safetensors", directory / "in/config.json"));
}

TEST(Rewrite, StoreAsMovesOffsetsAndKeepsTheOrder) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "in");
  const Checkpoint source = Checkpoint::open(directory / "in");
  for (const Dtype dtype : {Dtype::F16, Dtype::BF16, Dtype::F64}) {
    const fs::path path = directory / name_of(dtype);
    rewrite_doubled(source, path, dtype);
    const Checkpoint out = Checkpoint::open(path);
    expect_doubled(source, out);
    for (const TensorInfo& tensor : out.files()[0].tensors()) {
      EXPECT_EQ(tensor.dtype, is_attention(tensor.name) ? dtype : source.find(tensor.name)->info->dtype);
      EXPECT_EQ(tensor.begin % size_of(tensor.dtype), 0U) << tensor.name;
    }
    expect_same_order(source.files()[0], out.files()[0]);
  }
}

TEST(Rewrite, StoreAsReordersOnlyToKeepTensorsAligned) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "in");
  testing::write_text(
      directory / "in/config.json",
      R"({"model_type": "bert", "num_hidden_layers": 1, "hidden_size": 3, "num_attention_heads": 1})");
  // By name the float lies behind three tensors that are 18 bytes each once they are halves.
  std::vector<NamedTensor> tensors{
      {"encoder.layer.0.attention.self.r", Dtype::F32, {1}, std::vector<std::byte>(4, std::byte{1})}};
  for (const char* name : {"self.key", "self.query", "self.value", "output.dense"}) {
    tensors.push_back({std::string("encoder.layer.0.attention.") + name + ".weight",
                       Dtype::F32,
                       {3, 3},
                       std::vector<std::byte>(36)});
  }
  testing::write_bytes(directory / "in/model.safetensors", serialize_safetensors(tensors, {}));

  const Checkpoint source = Checkpoint::open(directory / "in");
  rewrite_doubled(source, directory / "out", Dtype::F16);
  const Checkpoint out = Checkpoint::open(directory / "out");
  expect_doubled(source, out);
  for (const TensorInfo& tensor : out.files()[0].tensors())
    EXPECT_EQ(tensor.begin % size_of(tensor.dtype), 0U);
  EXPECT_EQ(out.files()[0].tensors().front().name, "encoder.layer.0.attention.self.r");
}

TEST(Rewrite, StoreAsUpdatesTheTotalSizeOfShards) {
  const TemporaryDirectory directory;
  TinyBert{}.write_sharded(directory / "in");
  const Checkpoint source = Checkpoint::open(directory / "in");
  rewrite_doubled(source, directory / "out", Dtype::BF16);
  const Checkpoint out = Checkpoint::open(directory / "out");
  expect_doubled(source, out);
  const auto index_of = [](const Checkpoint& checkpoint) {
    return nlohmann::json::parse(testing::read_text(*checkpoint.index_path()));
  };
  std::size_t total = 0;
  for (const TensorFile& file : out.files()) total += file.size() - file.header().data_offset;
  EXPECT_EQ(index_of(out)["metadata"]["total_size"], total);
  EXPECT_LT(total, index_of(source)["metadata"]["total_size"].get<std::size_t>());
  EXPECT_EQ(index_of(out)["weight_map"], index_of(source)["weight_map"]);
}

TEST(Rewrite, FollowsLinksToFilesAsModelCachesHaveThem) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "in");
  fs::create_directory(directory / "blobs");
  for (const char* name : {"model.safetensors", "tokenizer.json"}) {
    fs::rename(directory / "in" / name, directory / "blobs" / name);
    fs::create_symlink(fs::path("../blobs") / name, directory / "in" / name);
  }
  CheckpointRewrite(Checkpoint::open(directory / "in"), directory / "out", Overwrite::No).commit();
  EXPECT_TRUE(is_copy(directory / "in", directory / "out"));
  EXPECT_FALSE(fs::is_symlink(directory / "out" / "tokenizer.json"));
}

TEST(Rewrite, LeavesNothingBehindUnlessCommitted) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "in");
  const Checkpoint source = Checkpoint::open(directory / "in");
  { const CheckpointRewrite dropped(source, directory / "out", Overwrite::No); }
  EXPECT_EQ(std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()), 1);
}

TEST(Rewrite, RefusesADestinationThatWouldCostData) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "in");
  fs::create_directory(directory / "home");
  testing::write_text(directory / "home/letter", "dear");
  testing::write_text(directory / "file", "");
  fs::create_directory_symlink("in", directory / "alias");
  const Checkpoint source = Checkpoint::open(directory / "in");
  const auto to = [&](const char* name, Overwrite overwrite) {
    return [&, name, overwrite] { CheckpointRewrite(source, directory / name, overwrite); };
  };
  expect_error<IoError>(to("home", Overwrite::No), {"home", "exists; use --force"});
  expect_error<IoError>(to("home", Overwrite::Yes), {"home", "no list of what attnsym wrote"});
  expect_error<IoError>(to("file", Overwrite::Yes), {"file", "is a file"});
  for (const char* name : {"in", "in/", "in/out", "in/../in", "alias", "."}) {
    expect_error<IoError>(to(name, Overwrite::Yes), {"overlaps the source"});
  }
  EXPECT_EQ(testing::read_text(directory / "home/letter"), "dear");
}

// @return how many temporary folders there were
int remove_remains(const fs::path& directory) {
  std::vector<fs::path> remains;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename().string().starts_with(".attnsym-")) remains.push_back(entry.path());
  }
  for (const fs::path& path : remains) fs::remove_all(path);
  return static_cast<int>(remains.size());
}

// Rewrites two sources in turn onto one destination until it is killed.
[[noreturn]] void rewrite_forever(const Checkpoint& first, const Checkpoint& second, const fs::path& out) {
  while (true) {
    CheckpointRewrite(first, out, Overwrite::Yes).commit();
    CheckpointRewrite(second, out, Overwrite::Yes).commit();
  }
}

TEST(Rewrite, KilledAtAnyMomentLeavesTheOldOrTheNewOne) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "a");
  TinyBert{.dtype = Dtype::F16}.write_sharded(directory / "b");
  const Checkpoint first = Checkpoint::open(directory / "a");
  const Checkpoint second = Checkpoint::open(directory / "b");
  CheckpointRewrite(first, directory / "out", Overwrite::No).commit();
  std::mt19937 random(1);
  int interrupted = 0;
  // On a busy machine most children die before their first rewrite: go on until enough died during one.
  constexpr int wanted = 10;
  constexpr int most_rounds = 2000;
  for (int round = 0; round < most_rounds && interrupted < wanted; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) rewrite_forever(first, second, directory / "out");
    ::usleep(static_cast<useconds_t>(random() % 8000));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_TRUE(is_copy(directory / "a", directory / "out") || is_copy(directory / "b", directory / "out"));
    interrupted += static_cast<int>(remove_remains(directory.path()) > 0);
  }
  EXPECT_EQ(interrupted, wanted) << "kills should hit rewrites in progress";
}

}  // namespace
}  // namespace attnsym
