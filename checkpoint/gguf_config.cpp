#include "checkpoint/gguf_config.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "checkpoint/printable.hpp"

namespace attnsym {
namespace {

using nlohmann::ordered_json;

// Turns the metadata of one file into the members of a config.json.
class ConfigWriter {
 public:
  ConfigWriter(const GgufHeader& header, GgufMetadata& metadata, const GgufArchitecture& architecture,
               std::span<const std::byte> file)
      : header_(header), metadata_(metadata), architecture_(architecture), file_(file) {}

  std::string write() {
    config_["architectures"] = {architecture_.class_name};
    config_["model_type"] = architecture_.model_type;
    if (architecture_.model_type == "gpt2") {
      write_gpt2();
    } else {
      write_sizes();
      write_rotary();
      write_family();
    }
    config_["tie_word_embeddings"] = find("output.weight") == nullptr;
    config_["torch_dtype"] = "float32";
    write_tokens();
    for (const char* part : {".attention.", ".attn_", ".rope."}) metadata_.require_read(key(part));
    return config_.dump(2) + "\n";
  }

 private:
  std::string key(std::string_view rest) const { return std::string(architecture_.name).append(rest); }

  const TensorInfo* find(std::string_view name) const {
    const auto found = std::ranges::find(header_.table.tensors, name, &TensorInfo::name);
    return found == header_.table.tensors.end() ? nullptr : &*found;
  }

  void put(const char* name, const std::optional<Index>& value) {
    if (value) config_[name] = *value;
  }

  void write_vocabulary() {
    const TensorInfo* embedding = find("token_embd.weight");
    if (embedding != nullptr && embedding->shape.size() == 2) config_["vocab_size"] = embedding->shape[0];
  }

  void write_gpt2() {
    const Index heads = metadata_.required_size(key(".attention.head_count"));
    if (metadata_.size(key(".attention.head_count_kv")).value_or(heads) != heads)
      metadata_.refuse(key(".attention.head_count_kv"),
                       std::to_string(heads) + ", as many as there are heads");
    config_["n_layer"] = metadata_.required_size(key(".block_count"));
    config_["n_embd"] = metadata_.required_size(key(".embedding_length"));
    config_["n_head"] = heads;
    put("n_positions", metadata_.size(key(".context_length")));
    put("n_inner", metadata_.size(key(".feed_forward_length")));
    write_vocabulary();
    config_["layer_norm_epsilon"] = metadata_.number(key(".attention.layer_norm_epsilon")).value_or(1e-5);
    config_["activation_function"] = "gelu_new";
  }

  void write_sizes() {
    const Index width = metadata_.required_size(key(".embedding_length"));
    const Index heads = metadata_.required_size(key(".attention.head_count"));
    config_["num_hidden_layers"] = metadata_.required_size(key(".block_count"));
    config_["hidden_size"] = width;
    put("intermediate_size", metadata_.size(key(".feed_forward_length")));
    config_["num_attention_heads"] = heads;
    config_["num_key_value_heads"] = metadata_.size(key(".attention.head_count_kv")).value_or(heads);
    head_width_ = metadata_.size(key(".attention.key_length")).value_or(width / heads);
    if (metadata_.size(key(".attention.value_length")).value_or(head_width_) != head_width_)
      metadata_.refuse(key(".attention.value_length"), std::to_string(head_width_) + ", the width of keys");
    config_["head_dim"] = head_width_;
    write_vocabulary();
    put("max_position_embeddings", metadata_.size(key(".context_length")));
    config_["rms_norm_eps"] = metadata_.required_number(key(".attention.layer_norm_rms_epsilon"));
  }

  // What the families do not have in common.
  void write_family() {
    const bool is_gemma = architecture_.model_type.starts_with("gemma");
    config_["hidden_act"] = is_gemma ? "gelu_pytorch_tanh" : "silu";
    if (is_gemma) config_["hidden_activation"] = "gelu_pytorch_tanh";
    if (architecture_.model_type == "gemma2") write_gemma2();
    if (architecture_.model_type.starts_with("qwen")) {
      config_["use_sliding_window"] = false;
    } else {
      config_["attention_bias"] = find("blk.0.attn_q.bias") != nullptr;
    }
  }

  // The scale is not in the file: llama.cpp takes the model of 46 layers for the one of 27 billion
  // parameters, whose scale is that of embedding_length / head_count.
  void write_gemma2() {
    const bool is_27b = config_["num_hidden_layers"] == 46;
    const Index width = config_["hidden_size"];
    const Index heads = config_["num_attention_heads"];
    config_["query_pre_attn_scalar"] = is_27b ? width / heads : head_width_;
    config_["attn_logit_softcapping"] = metadata_.number(key(".attn_logit_softcapping")).value_or(50);
    config_["final_logit_softcapping"] = metadata_.number(key(".final_logit_softcapping")).value_or(30);
    config_["sliding_window"] = metadata_.size(key(".attention.sliding_window")).value_or(4096);
  }

  void write_rotary() {
    const Index turned = metadata_.size(key(".rope.dimension_count")).value_or(head_width_);
    if (turned != head_width_)
      metadata_.refuse(key(".rope.dimension_count"), std::to_string(head_width_) + ", the width of a head");
    base_ = metadata_.number(key(".rope.freq_base")).value_or(10000);
    if (!(base_ > 0)) metadata_.refuse(key(".rope.freq_base"), "a positive number");
    config_["rope_theta"] = base_;
    ordered_json scaling = scaling_by_keys();
    if (const TensorInfo* factors = find("rope_freqs.weight")) {
      if (!scaling.is_null())
        metadata_.fail(
            "tensor 'rope_freqs.weight': scales frequencies that 'rope.scaling.type' scales already");
      scaling = scaling_by_factors(*factors);
    }
    if (!scaling.is_null()) config_["rope_scaling"] = scaling;
  }

  double positive(const std::string& name) {
    const double value = metadata_.required_number(name);
    if (!(value > 0)) metadata_.refuse(name, "a positive number");
    return value;
  }

  ordered_json scaling_by_keys() {
    const std::string type_key = key(".rope.scaling.type");
    const std::string factor_key = key(".rope.scaling.factor");
    const std::string type = metadata_.text(type_key).value_or("none");
    metadata_.flag(key(".rope.scaling.finetuned"));  // says how the model was trained, not what it computes
    const std::optional<Index> length = metadata_.size(key(".rope.scaling.original_context_length"));
    if (type == "none") return nullptr;
    if (type == "linear") return {{"rope_type", "linear"}, {"factor", positive(factor_key)}};
    if (type != "yarn") metadata_.refuse(type_key, "one of: none, linear, yarn");
    ordered_json scaling{{"rope_type", "yarn"}, {"factor", positive(factor_key)}};
    if (length) scaling["original_max_position_embeddings"] = *length;
    return scaling;
  }

  std::vector<double> read_factors(const TensorInfo& tensor) const {
    const std::vector<std::int64_t> shape{head_width_ / 2};
    if (tensor.shape != shape || tensor.dtype != Dtype::F32)
      metadata_.fail("tensor " + in_quotes(tensor.name) + ": is " + shape_text(tensor.shape) + " of " +
                     std::string(name_of(tensor.dtype)) + ", expected " + shape_text(shape) + " of F32");
    std::vector<double> factors(static_cast<std::size_t>(shape[0]));
    decode(tensor.dtype, file_.subspan(header_.table.data_offset + tensor.begin, tensor.size()), factors);
    const auto is_sound = [](double factor) { return std::isfinite(factor) && factor > 0; };
    if (!std::ranges::all_of(factors, is_sound))
      metadata_.fail("tensor " + in_quotes(tensor.name) + ": a factor is not a positive number");
    return factors;
  }

  // Every frequency is divided by its factor. Where the factors are those of the rule "llama3" with the
  // numbers that all published models have, but for float32, the rule is named; else longrope can say them as
  // they are.
  ordered_json scaling_by_factors(const TensorInfo& tensor) const {
    const std::vector<double> factors = read_factors(tensor);
    const double factor = std::ranges::max(factors);
    if (are_llama3(factors, factor))
      return {{"rope_type", "llama3"},
              {"factor", factor},
              {"low_freq_factor", 1.0},
              {"high_freq_factor", 4.0},
              {"original_max_position_embeddings", 8192}};
    return {{"rope_type", "longrope"},
            {"short_factor", factors},
            {"long_factor", factors},
            {"attention_factor", 1.0},
            {"original_max_position_embeddings", 8192}};
  }

  bool are_llama3(const std::vector<double>& factors, double factor) const {
    for (std::size_t p = 0; p < factors.size(); ++p) {
      const double share = static_cast<double>(p) / static_cast<double>(factors.size());
      const double wavelength = 2 * std::numbers::pi * std::pow(base_, share);
      const double smooth = std::clamp((8192 / wavelength - 1) / 3, 0.0, 1.0);
      const double expected = 1 / ((1 - smooth) / factor + smooth);
      if (!(std::abs(factors[p] - expected) <= 1e-5 * expected)) return false;
    }
    return true;
  }

  void write_tokens() {
    put("bos_token_id", metadata_.count("tokenizer.ggml.bos_token_id"));
    put("eos_token_id", metadata_.count("tokenizer.ggml.eos_token_id"));
  }

  const GgufHeader& header_;
  GgufMetadata& metadata_;
  const GgufArchitecture& architecture_;
  std::span<const std::byte> file_;
  ordered_json config_;
  Index head_width_ = 0;
  double base_ = 10000;
};

}  // namespace

std::string gguf_config(const GgufHeader& header, GgufMetadata& metadata,
                        const GgufArchitecture& architecture, std::span<const std::byte> file) {
  return ConfigWriter(header, metadata, architecture, file).write();
}

}  // namespace attnsym
