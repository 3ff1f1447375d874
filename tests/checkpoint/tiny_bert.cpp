#include "tests/checkpoint/tiny_bert.hpp"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/checkpoint/temporary_directory.hpp"

namespace attnsym::testing {
namespace {

namespace fs = std::filesystem;

// Multiples of 1/64 below 1.6: at most 7 bits, which every float dtype holds.
NamedTensor float_tensor(std::string name, Dtype dtype, std::vector<std::int64_t> shape, int salt) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  std::vector<double> values;
  for (int i = 0; i < count; ++i)
    values.push_back(((i * 29 + salt * 11) % 101 + 1) * ((i + salt) % 2 ? 1 : -1) / 64.0);
  std::vector<std::byte> bytes(values.size() * size_of(dtype));
  encode(dtype, values, bytes);
  return {std::move(name), dtype, std::move(shape), std::move(bytes)};
}

NamedTensor position_ids() {
  const std::vector<std::int64_t> ids{0, 1, 2, 3};
  std::vector<std::byte> bytes(ids.size() * sizeof ids[0]);
  std::memcpy(bytes.data(), ids.data(), bytes.size());
  return {"embeddings.position_ids", Dtype::I64, {1, 4}, bytes};
}

void write_common(const fs::path& directory, const TinyBert& bert) {
  fs::create_directories(directory / "1_Pooling");
  write_text(directory / "config.json", bert.config());
  write_text(directory / "tokenizer.json", "{\"tokens\": []}\n");
  write_text(directory / "1_Pooling" / "config.json", "{\"pooling\": \"mean\"}\n");
}

}  // namespace

std::string TinyBert::config() const {
  return R"({"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 6, "num_attention_heads": 3})";
}

std::vector<NamedTensor> TinyBert::tensors() const {
  std::vector<NamedTensor> all;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    all.push_back(float_tensor(prefix + name, dtype, std::move(shape), static_cast<int>(all.size())));
  };
  add("embeddings.LayerNorm.weight", {width});
  add("embeddings.LayerNorm.bias", {width});
  for (int i = 0; i < layers; ++i) {
    const std::string layer = "encoder.layer." + std::to_string(i) + ".";
    for (const char* name :
         {"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"}) {
      add(layer + name + ".weight", {width, width});
      if (biases) add(layer + name + ".bias", {width});
    }
    add(layer + "output.dense.weight", {width, 2});
    add(layer + "output.LayerNorm.gamma", {width});
    add(layer + "output.LayerNorm.beta", {width});
  }
  all.push_back(position_ids());
  return all;
}

void TinyBert::write(const fs::path& directory) const {
  write_common(directory, *this);
  write_bytes(directory / "model.safetensors", serialize_safetensors(tensors(), {{"format", "pt"}}));
}

void TinyBert::write_sharded(const fs::path& directory) const {
  write_common(directory, *this);
  std::vector<NamedTensor> shards[2];
  nlohmann::json index;
  std::size_t total = 0;
  for (NamedTensor& tensor : tensors()) {
    // Layer 1 apart from the rest, but for its output bias: one layer may lie in two files.
    const int shard = tensor.name.find("layer.1.") != std::string::npos &&
                      tensor.name.find("attention.output.dense.bias") == std::string::npos;
    index["weight_map"][tensor.name] = "model-0000" + std::to_string(shard + 1) + "-of-00002.safetensors";
    total += tensor.bytes.size();
    shards[shard].push_back(std::move(tensor));
  }
  index["metadata"]["total_size"] = total;
  write_text(directory / "model.safetensors.index.json", index.dump(2) + "\n");
  write_bytes(directory / "model-00001-of-00002.safetensors",
              serialize_safetensors(shards[0], {{"format", "pt"}}));
  write_bytes(directory / "model-00002-of-00002.safetensors",
              serialize_safetensors(shards[1], {{"format", "pt"}}));
}

}  // namespace attnsym::testing
