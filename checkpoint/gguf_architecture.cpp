#include "checkpoint/gguf_architecture.hpp"

#include <algorithm>

namespace attnsym {
namespace {

using Change = GgufModule::Change;

// As llama and its kin have them.
std::vector<GgufModule> llama_modules(Change norms, std::vector<GgufModule> more) {
  std::vector<GgufModule> modules{
      {"token_embd", "model.embed_tokens"},
      {"output_norm", "model.norm", norms},
      {"output", "lm_head"},
      {"blk.{layer}.attn_norm", "model.layers.{layer}.input_layernorm", norms},
      {"blk.{layer}.attn_q", "model.layers.{layer}.self_attn.q_proj"},
      {"blk.{layer}.attn_k", "model.layers.{layer}.self_attn.k_proj"},
      {"blk.{layer}.attn_v", "model.layers.{layer}.self_attn.v_proj"},
      {"blk.{layer}.attn_output", "model.layers.{layer}.self_attn.o_proj"},
      {"blk.{layer}.ffn_gate", "model.layers.{layer}.mlp.gate_proj"},
      {"blk.{layer}.ffn_up", "model.layers.{layer}.mlp.up_proj"},
      {"blk.{layer}.ffn_down", "model.layers.{layer}.mlp.down_proj"},
  };
  modules.insert(modules.end(), more.begin(), more.end());
  return modules;
}

std::vector<GgufModule> gpt2_modules() {
  return {
      {"token_embd", "transformer.wte"},
      {"position_embd", "transformer.wpe"},
      {"output_norm", "transformer.ln_f"},
      {"output", "lm_head"},
      {"blk.{layer}.attn_norm", "transformer.h.{layer}.ln_1"},
      {"blk.{layer}.attn_qkv", "transformer.h.{layer}.attn.c_attn", Change::Transposed},
      {"blk.{layer}.attn_output", "transformer.h.{layer}.attn.c_proj", Change::Transposed},
      {"blk.{layer}.ffn_norm", "transformer.h.{layer}.ln_2"},
      {"blk.{layer}.ffn_up", "transformer.h.{layer}.mlp.c_fc", Change::Transposed},
      {"blk.{layer}.ffn_down", "transformer.h.{layer}.mlp.c_proj", Change::Transposed},
  };
}

// Read off llama.cpp's convert_hf_to_gguf.py and gguf-py.
const std::vector<GgufArchitecture>& architectures() {
  const GgufModule plain_norm{"blk.{layer}.ffn_norm", "model.layers.{layer}.post_attention_layernorm"};
  static const std::vector<GgufArchitecture> all{
      {"gemma", "gemma", "GemmaForCausalLM", PairLayout::HalfSplit,
       llama_modules(Change::OneAdded, {{plain_norm.gguf, plain_norm.hugging_face, Change::OneAdded}})},
      {"gemma2", "gemma2", "Gemma2ForCausalLM", PairLayout::HalfSplit,
       llama_modules(
           Change::OneAdded,
           {{"blk.{layer}.post_attention_norm", plain_norm.hugging_face, Change::OneAdded},
            {"blk.{layer}.ffn_norm", "model.layers.{layer}.pre_feedforward_layernorm", Change::OneAdded},
            {"blk.{layer}.post_ffw_norm", "model.layers.{layer}.post_feedforward_layernorm",
             Change::OneAdded}})},
      {"gpt2", "gpt2", "GPT2LMHeadModel", PairLayout::HalfSplit, gpt2_modules()},
      {"llama", "llama", "LlamaForCausalLM", PairLayout::Interleaved,
       llama_modules(Change::None, {plain_norm})},
      {"qwen2", "qwen2", "Qwen2ForCausalLM", PairLayout::HalfSplit,
       llama_modules(Change::None, {plain_norm})},
      {"qwen3", "qwen3", "Qwen3ForCausalLM", PairLayout::HalfSplit,
       llama_modules(Change::None, {plain_norm,
                                    {"blk.{layer}.attn_q_norm", "model.layers.{layer}.self_attn.q_norm"},
                                    {"blk.{layer}.attn_k_norm", "model.layers.{layer}.self_attn.k_norm"}})},
  };
  return all;
}

}  // namespace

std::optional<GgufArchitecture> find_gguf_architecture(std::string_view name) {
  const auto found = std::ranges::find(architectures(), name, &GgufArchitecture::name);
  return found == architectures().end() ? std::nullopt : std::optional(*found);
}

std::vector<std::string> gguf_architecture_names() {
  std::vector<std::string> names;
  for (const GgufArchitecture& one : architectures()) names.emplace_back(one.name);
  return names;
}

}  // namespace attnsym
