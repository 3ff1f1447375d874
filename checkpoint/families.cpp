#include "checkpoint/layout.hpp"

namespace attnsym {
namespace {

// Read off the configuration and modeling files of Hugging Face transformers 4.57 and 5.24. `defaults` stand
// for keys that are absent, as in the family's configuration class; null means that there is none. Of several
// tables of one model_type the first whose `when` holds counts.
struct Table {
  std::string_view model_type;
  std::string_view json;
};

constexpr Table tables[] = {
    {"bert", R"({
  "model_type": "bert",
  "prefixes": ["", "bert."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "encoder.layer.{layer}.attention.self.query",
  "key": "encoder.layer.{layer}.attention.self.key",
  "value": "encoder.layer.{layer}.attention.self.value",
  "output": "encoder.layer.{layer}.attention.output.dense",
  "norm": {"kind": "layer", "first_modules": "embeddings.LayerNorm",
           "modules": "encoder.layer.{previous}.output.LayerNorm"},
  "causal": "is_decoder",
  "refuse": {"position_embedding_type": {"only": "absolute", "because":
             "tables of relative positions are multiplied with queries and keys, which breaks their gauge, and are not supported yet"}}
})"},
    {"bloom", R"({
  "model_type": "bloom",
  "prefixes": ["", "transformer."],
  "sizes": {"layers": ["num_hidden_layers", "n_layer"], "hidden_size": ["n_embed", "hidden_size"],
            "heads": ["num_attention_heads", "n_head"]},
  "packing": "per_group",
  "query_key_value": "h.{layer}.self_attention.query_key_value",
  "output": "h.{layer}.self_attention.dense",
  "norm": {"kind": "layer", "modules": "h.{layer}.input_layernorm"},
  "positions": {"kind": "alibi"}
})"},
    {"falcon", R"({
  "model_type": "falcon",
  "comment": "grouped, rotary",
  "when": {"new_decoder_architecture": true, "alibi": false},
  "prefixes": ["", "transformer."],
  "sizes": {"layers": ["num_hidden_layers", "n_layer"], "hidden_size": ["n_embed", "hidden_size"],
            "heads": ["num_attention_heads", "n_head"], "kv_heads": "num_kv_heads"},
  "packing": "per_group",
  "query_key_value": "h.{layer}.self_attention.query_key_value",
  "output": "h.{layer}.self_attention.dense",
  "norm": {"kind": "layer", "modules": ["h.{layer}.ln_attn", "h.{layer}.input_layernorm"]},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "defaults": {"rope_theta": 10000.0}
})"},
    {"falcon", R"({
  "model_type": "falcon",
  "comment": "grouped, ALiBi",
  "when": {"new_decoder_architecture": true, "alibi": true},
  "prefixes": ["", "transformer."],
  "sizes": {"layers": ["num_hidden_layers", "n_layer"], "hidden_size": ["n_embed", "hidden_size"],
            "heads": ["num_attention_heads", "n_head"], "kv_heads": "num_kv_heads"},
  "packing": "per_group",
  "query_key_value": "h.{layer}.self_attention.query_key_value",
  "output": "h.{layer}.self_attention.dense",
  "norm": {"kind": "layer", "modules": ["h.{layer}.ln_attn", "h.{layer}.input_layernorm"]},
  "positions": {"kind": "alibi", "scaled_slopes": true}
})"},
    {"falcon", R"({
  "model_type": "falcon",
  "comment": "multi-query, rotary",
  "when": {"multi_query": true, "alibi": false},
  "prefixes": ["", "transformer."],
  "sizes": {"layers": ["num_hidden_layers", "n_layer"], "hidden_size": ["n_embed", "hidden_size"],
            "heads": ["num_attention_heads", "n_head"], "kv_heads": 1},
  "packing": "concatenated",
  "query_key_value": "h.{layer}.self_attention.query_key_value",
  "output": "h.{layer}.self_attention.dense",
  "norm": {"kind": "layer", "modules": "h.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "defaults": {"rope_theta": 10000.0, "multi_query": true}
})"},
    {"falcon", R"({
  "model_type": "falcon",
  "comment": "multi-query, ALiBi",
  "when": {"multi_query": true, "alibi": true},
  "prefixes": ["", "transformer."],
  "sizes": {"layers": ["num_hidden_layers", "n_layer"], "hidden_size": ["n_embed", "hidden_size"],
            "heads": ["num_attention_heads", "n_head"], "kv_heads": 1},
  "packing": "concatenated",
  "query_key_value": "h.{layer}.self_attention.query_key_value",
  "output": "h.{layer}.self_attention.dense",
  "norm": {"kind": "layer", "modules": "h.{layer}.input_layernorm"},
  "positions": {"kind": "alibi", "scaled_slopes": true},
  "defaults": {"multi_query": true}
})"},
    {"falcon", R"({
  "model_type": "falcon",
  "comment": "multi-head, rotary",
  "when": {"alibi": false},
  "prefixes": ["", "transformer."],
  "sizes": {"layers": ["num_hidden_layers", "n_layer"], "hidden_size": ["n_embed", "hidden_size"],
            "heads": ["num_attention_heads", "n_head"]},
  "packing": "per_group",
  "query_key_value": "h.{layer}.self_attention.query_key_value",
  "output": "h.{layer}.self_attention.dense",
  "norm": {"kind": "layer", "modules": "h.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "defaults": {"rope_theta": 10000.0}
})"},
    {"falcon", R"({
  "model_type": "falcon",
  "comment": "multi-head, ALiBi",
  "prefixes": ["", "transformer."],
  "sizes": {"layers": ["num_hidden_layers", "n_layer"], "hidden_size": ["n_embed", "hidden_size"],
            "heads": ["num_attention_heads", "n_head"]},
  "packing": "per_group",
  "query_key_value": "h.{layer}.self_attention.query_key_value",
  "output": "h.{layer}.self_attention.dense",
  "norm": {"kind": "layer", "modules": "h.{layer}.input_layernorm"},
  "positions": {"kind": "alibi", "scaled_slopes": true}
})"},
    {"gemma", R"({
  "model_type": "gemma",
  "prefixes": ["", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm", "gain_offset": 1},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "refuse": {"use_bidirectional_attention": {"only": false, "because": "attention without a causal mask is not supported"}},
  "defaults": {"num_key_value_heads": 16, "head_dim": 256, "rope_theta": 10000.0}
})"},
    {"gemma2", R"({
  "model_type": "gemma2",
  "prefixes": ["", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm", "gain_offset": 1},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "query_scalar": "query_pre_attn_scalar",
  "softcap": "attn_logit_softcapping",
  "window": {"size": "sliding_window", "layers": "even"},
  "refuse": {"use_bidirectional_attention": {"only": false, "because": "attention without a causal mask is not supported"}},
  "defaults": {"num_key_value_heads": 4, "head_dim": 256, "rope_theta": 10000.0, "query_pre_attn_scalar": 256,
               "attn_logit_softcapping": 50.0, "sliding_window": 4096}
})"},
    {"gemma3", R"({
  "model_type": "gemma3",
  "nested": "text_config",
  "prefixes": ["language_model.model.", "model.language_model.", "language_model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "query_norm": "layers.{layer}.self_attn.q_norm.weight",
  "key_norm": "layers.{layer}.self_attn.k_norm.weight",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm", "gain_offset": 1},
  "positions": {"kind": "rotary", "base": "rope_theta", "local_base": "rope_local_base_freq"},
  "query_scalar": "query_pre_attn_scalar",
  "window": {"size": "sliding_window", "layers": "all_but_every_pattern"},
  "refuse": {"use_bidirectional_attention": {"only": false, "because": "attention without a causal mask is not supported"}},
  "defaults": {"num_key_value_heads": 4, "head_dim": 256, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
               "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6}
})"},
    {"gemma3_text", R"({
  "model_type": "gemma3_text",
  "prefixes": ["", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "query_norm": "layers.{layer}.self_attn.q_norm.weight",
  "key_norm": "layers.{layer}.self_attn.k_norm.weight",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm", "gain_offset": 1},
  "positions": {"kind": "rotary", "base": "rope_theta", "local_base": "rope_local_base_freq"},
  "query_scalar": "query_pre_attn_scalar",
  "window": {"size": "sliding_window", "layers": "all_but_every_pattern"},
  "refuse": {"use_bidirectional_attention": {"only": false, "because": "attention without a causal mask is not supported"}},
  "defaults": {"num_key_value_heads": 4, "head_dim": 256, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
               "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6}
})"},
    {"gpt2", R"({
  "model_type": "gpt2",
  "comment": "weights are [in, out]; files of minGPT and nanoGPT, with the same names and [out, in], are recognised by their shape",
  "prefixes": ["", "transformer."],
  "sizes": {"layers": ["n_layer", "num_hidden_layers"], "hidden_size": ["n_embd", "hidden_size"],
            "heads": ["n_head", "num_attention_heads"]},
  "packing": "concatenated",
  "transposed": true,
  "query_key_value": "h.{layer}.attn.c_attn",
  "output": "h.{layer}.attn.c_proj",
  "norm": {"kind": "layer", "modules": "h.{layer}.ln_1"},
  "scaled_flag": "scale_attn_weights",
  "inverse_layer_flag": "scale_attn_by_inverse_layer_idx"
})"},
    {"gpt_neox", R"({
  "model_type": "gpt_neox",
  "prefixes": ["", "gpt_neox."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads"},
  "packing": "per_group",
  "query_key_value": "layers.{layer}.attention.query_key_value",
  "output": "layers.{layer}.attention.dense",
  "norm": {"kind": "layer", "modules": "layers.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": ["rope_theta", "rotary_emb_base"],
                "fraction": ["partial_rotary_factor", "rotary_pct"]},
  "defaults": {"rotary_emb_base": 10000.0, "rotary_pct": 0.25}
})"},
    {"llama", R"({
  "model_type": "llama",
  "prefixes": ["", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "defaults": {"rope_theta": 10000.0}
})"},
    {"mistral", R"({
  "model_type": "mistral",
  "prefixes": ["", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "window": {"size": "sliding_window"},
  "defaults": {"num_key_value_heads": 8, "rope_theta": 10000.0, "sliding_window": 4096}
})"},
    {"olmo2", R"({
  "model_type": "olmo2",
  "comment": "norms of queries and keys run over all heads; nothing is normalised in front of attention",
  "prefixes": ["", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "query_norm": "layers.{layer}.self_attn.q_norm.weight",
  "key_norm": "layers.{layer}.self_attn.k_norm.weight",
  "norm_over_all_heads": true,
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "defaults": {"rope_theta": 10000.0}
})"},
    {"phi", R"({
  "model_type": "phi",
  "prefixes": ["", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.dense",
  "norm": {"kind": "layer", "modules": "layers.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": "rope_theta", "fraction": "partial_rotary_factor"},
  "refuse": {"qk_layernorm": {"only": false, "because": "layer norms of queries and keys are not supported"}},
  "defaults": {"rope_theta": 10000.0, "partial_rotary_factor": 0.5}
})"},
    {"phi3", R"({
  "model_type": "phi3",
  "prefixes": ["", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "packing": "concatenated",
  "query_key_value": "layers.{layer}.self_attn.qkv_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": "rope_theta", "fraction": "partial_rotary_factor"},
  "window": {"size": "sliding_window"},
  "defaults": {"rope_theta": 10000.0, "partial_rotary_factor": 1.0}
})"},
    {"qwen2", R"({
  "model_type": "qwen2",
  "prefixes": ["", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "window": {"size": "sliding_window", "flag": "use_sliding_window", "layers": "from_max_window_layers"},
  "defaults": {"num_key_value_heads": 32, "rope_theta": 10000.0, "sliding_window": 4096, "max_window_layers": 28}
})"},
    {"qwen3", R"({
  "model_type": "qwen3",
  "prefixes": ["", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "query_norm": "layers.{layer}.self_attn.q_norm.weight",
  "key_norm": "layers.{layer}.self_attn.k_norm.weight",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "window": {"size": "sliding_window", "flag": "use_sliding_window", "layers": "from_max_window_layers"},
  "defaults": {"num_key_value_heads": 32, "head_dim": 128, "rope_theta": 10000.0, "sliding_window": 4096,
               "max_window_layers": 28}
})"},
    {"roberta", R"({
  "model_type": "roberta",
  "prefixes": ["", "roberta."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "encoder.layer.{layer}.attention.self.query",
  "key": "encoder.layer.{layer}.attention.self.key",
  "value": "encoder.layer.{layer}.attention.self.value",
  "output": "encoder.layer.{layer}.attention.output.dense",
  "norm": {"kind": "layer", "first_modules": "embeddings.LayerNorm",
           "modules": "encoder.layer.{previous}.output.LayerNorm"},
  "causal": "is_decoder",
  "refuse": {"position_embedding_type": {"only": "absolute", "because":
             "tables of relative positions are multiplied with queries and keys, which breaks their gauge, and are not supported yet"}}
})"},
    {"vit", R"({
  "model_type": "vit",
  "prefixes": ["", "vit."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads"},
  "query": "encoder.layer.{layer}.attention.attention.query",
  "key": "encoder.layer.{layer}.attention.attention.key",
  "value": "encoder.layer.{layer}.attention.attention.value",
  "output": "encoder.layer.{layer}.attention.output.dense",
  "norm": {"kind": "layer", "modules": "encoder.layer.{layer}.layernorm_before"},
  "causal": false
})"},
};

}  // namespace

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const Table& table : tables) {
    if (names.empty() || names.back() != table.model_type) names.emplace_back(table.model_type);
  }
  return names;
}

std::vector<std::string> family_tables(std::string_view model_type) {
  std::vector<std::string> result;
  for (const Table& table : tables) {
    if (table.model_type == model_type) result.emplace_back(table.json);
  }
  return result;
}

}  // namespace attnsym
