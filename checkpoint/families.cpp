#include "checkpoint/layout.hpp"

namespace attnsym {
namespace {

// Read off the configuration and modeling files of Hugging Face transformers 4.57 and 5.24. `defaults` stand
// for keys that are absent, as in the family's configuration class; null means that there is none. Of several
// tables of one model_type the first whose `when` holds counts.
struct FamilyTable {
  std::string_view model_type;
  std::string_view json;
};

constexpr FamilyTable tables[] = {
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
             "tables of relative positions are multiplied with queries and keys, which breaks their gauge, and are not supported yet"}},
  "model": {
    "embedding": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings",
    "token_types": "embeddings.token_type_embeddings", "placement": "after",
    "norms": {"embedding": "embeddings.LayerNorm", "attention_output": "encoder.layer.{layer}.attention.output.LayerNorm",
              "mlp_output": "encoder.layer.{layer}.output.LayerNorm"},
    "mlp": {"up": "encoder.layer.{layer}.intermediate.dense", "down": "encoder.layer.{layer}.output.dense",
            "activation": "hidden_act"},
    "epsilon": "layer_norm_eps"
  },
  "defaults": {"hidden_act": "gelu", "layer_norm_eps": 1e-12}
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
  "positions": {"kind": "alibi"},
  "model": {
    "embedding": "word_embeddings", "placement": "before",
    "norms": {"embedding": "word_embeddings_layernorm", "attention_input": "h.{layer}.input_layernorm",
              "mlp_input": "h.{layer}.post_attention_layernorm", "final": "ln_f"},
    "mlp": {"up": "h.{layer}.mlp.dense_h_to_4h", "down": "h.{layer}.mlp.dense_4h_to_h", "activation": "bloom_gelu"},
    "epsilon": "layer_norm_epsilon", "head": "lm_head", "refuse": "apply_residual_connection_post_layernorm"
  },
  "defaults": {"bloom_gelu": "gelu_pytorch_tanh", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true}
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
  "model": {
    "embedding": "word_embeddings", "placement": "before", "parallel": true,
    "norms": {"attention_input": ["h.{layer}.ln_attn", "h.{layer}.input_layernorm"],
              "mlp_input": "h.{layer}.ln_mlp", "final": "ln_f"},
    "mlp": {"up": "h.{layer}.mlp.dense_h_to_4h", "down": "h.{layer}.mlp.dense_4h_to_h", "activation": "activation"},
    "epsilon": "layer_norm_epsilon", "head": "lm_head", "refuse": "apply_residual_connection_post_layernorm"
  },
  "defaults": {"rope_theta": 10000.0,
               "activation": "gelu", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true, "parallel_attn": true}
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
  "positions": {"kind": "alibi", "scaled_slopes": true},
  "model": {
    "embedding": "word_embeddings", "placement": "before", "parallel": true,
    "norms": {"attention_input": ["h.{layer}.ln_attn", "h.{layer}.input_layernorm"],
              "mlp_input": "h.{layer}.ln_mlp", "final": "ln_f"},
    "mlp": {"up": "h.{layer}.mlp.dense_h_to_4h", "down": "h.{layer}.mlp.dense_4h_to_h", "activation": "activation"},
    "epsilon": "layer_norm_epsilon", "head": "lm_head", "refuse": "apply_residual_connection_post_layernorm"
  },
  "defaults": {"activation": "gelu", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true, "parallel_attn": true}
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
  "model": {
    "embedding": "word_embeddings", "placement": "before", "parallel": "parallel_attn",
    "norms": {"attention_input": "h.{layer}.input_layernorm",
              "mlp_input": "h.{layer}.post_attention_layernorm", "final": "ln_f"},
    "mlp": {"up": "h.{layer}.mlp.dense_h_to_4h", "down": "h.{layer}.mlp.dense_4h_to_h", "activation": "activation"},
    "epsilon": "layer_norm_epsilon", "head": "lm_head", "refuse": "apply_residual_connection_post_layernorm"
  },
  "defaults": {"rope_theta": 10000.0, "multi_query": true,
               "activation": "gelu", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true, "parallel_attn": true}
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
  "model": {
    "embedding": "word_embeddings", "placement": "before", "parallel": "parallel_attn",
    "norms": {"attention_input": "h.{layer}.input_layernorm",
              "mlp_input": "h.{layer}.post_attention_layernorm", "final": "ln_f"},
    "mlp": {"up": "h.{layer}.mlp.dense_h_to_4h", "down": "h.{layer}.mlp.dense_4h_to_h", "activation": "activation"},
    "epsilon": "layer_norm_epsilon", "head": "lm_head", "refuse": "apply_residual_connection_post_layernorm"
  },
  "defaults": {"multi_query": true,
               "activation": "gelu", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true, "parallel_attn": true}
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
  "model": {
    "embedding": "word_embeddings", "placement": "before", "parallel": "parallel_attn",
    "norms": {"attention_input": "h.{layer}.input_layernorm",
              "mlp_input": "h.{layer}.post_attention_layernorm", "final": "ln_f"},
    "mlp": {"up": "h.{layer}.mlp.dense_h_to_4h", "down": "h.{layer}.mlp.dense_4h_to_h", "activation": "activation"},
    "epsilon": "layer_norm_epsilon", "head": "lm_head", "refuse": "apply_residual_connection_post_layernorm"
  },
  "defaults": {"rope_theta": 10000.0,
               "activation": "gelu", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true, "parallel_attn": true}
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
  "positions": {"kind": "alibi", "scaled_slopes": true},
  "model": {
    "embedding": "word_embeddings", "placement": "before", "parallel": "parallel_attn",
    "norms": {"attention_input": "h.{layer}.input_layernorm",
              "mlp_input": "h.{layer}.post_attention_layernorm", "final": "ln_f"},
    "mlp": {"up": "h.{layer}.mlp.dense_h_to_4h", "down": "h.{layer}.mlp.dense_4h_to_h", "activation": "activation"},
    "epsilon": "layer_norm_epsilon", "head": "lm_head", "refuse": "apply_residual_connection_post_layernorm"
  },
  "defaults": {"activation": "gelu", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true, "parallel_attn": true}
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
  "model": {
    "embedding": "embed_tokens", "scaled_embedding": true, "placement": "before",
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "mlp_input": "layers.{layer}.post_attention_layernorm",
              "final": "norm"},
    "mlp": {"gate": "layers.{layer}.mlp.gate_proj", "up": "layers.{layer}.mlp.up_proj", "down": "layers.{layer}.mlp.down_proj",
            "activation": "hidden_activation"},
    "epsilon": "rms_norm_eps", "head": "lm_head"
  },
  "defaults": {"num_key_value_heads": 16, "head_dim": 256, "rope_theta": 10000.0,
               "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "tie_word_embeddings": true}
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
  "model": {
    "embedding": "embed_tokens", "scaled_embedding": true, "placement": "around",
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "attention_output": "layers.{layer}.post_attention_layernorm",
              "mlp_input": "layers.{layer}.pre_feedforward_layernorm", "mlp_output": "layers.{layer}.post_feedforward_layernorm",
              "final": "norm"},
    "mlp": {"gate": "layers.{layer}.mlp.gate_proj", "up": "layers.{layer}.mlp.up_proj", "down": "layers.{layer}.mlp.down_proj",
            "activation": "hidden_activation"},
    "epsilon": "rms_norm_eps", "head": "lm_head", "softcap": "final_logit_softcapping"
  },
  "defaults": {"num_key_value_heads": 4, "head_dim": 256, "rope_theta": 10000.0, "query_pre_attn_scalar": 256,
               "attn_logit_softcapping": 50.0, "sliding_window": 4096,
               "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "final_logit_softcapping": 30.0}
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
  "model": {
    "embedding": "embed_tokens", "scaled_embedding": true, "placement": "around",
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "attention_output": "layers.{layer}.post_attention_layernorm",
              "mlp_input": "layers.{layer}.pre_feedforward_layernorm", "mlp_output": "layers.{layer}.post_feedforward_layernorm",
              "final": "norm"},
    "mlp": {"gate": "layers.{layer}.mlp.gate_proj", "up": "layers.{layer}.mlp.up_proj", "down": "layers.{layer}.mlp.down_proj",
            "activation": "hidden_activation"},
    "epsilon": "rms_norm_eps", "head": ["language_model.lm_head", "lm_head"]
  },
  "defaults": {"num_key_value_heads": 4, "head_dim": 256, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
               "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6,
               "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "tie_word_embeddings": true}
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
  "model": {
    "embedding": "embed_tokens", "scaled_embedding": true, "placement": "around",
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "attention_output": "layers.{layer}.post_attention_layernorm",
              "mlp_input": "layers.{layer}.pre_feedforward_layernorm", "mlp_output": "layers.{layer}.post_feedforward_layernorm",
              "final": "norm"},
    "mlp": {"gate": "layers.{layer}.mlp.gate_proj", "up": "layers.{layer}.mlp.up_proj", "down": "layers.{layer}.mlp.down_proj",
            "activation": "hidden_activation"},
    "epsilon": "rms_norm_eps", "head": "lm_head", "softcap": "final_logit_softcapping"
  },
  "defaults": {"num_key_value_heads": 4, "head_dim": 256, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
               "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6,
               "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "tie_word_embeddings": true}
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
  "inverse_layer_flag": "scale_attn_by_inverse_layer_idx",
  "model": {
    "embedding": "wte", "positions": "wpe", "placement": "before",
    "norms": {"attention_input": "h.{layer}.ln_1", "mlp_input": "h.{layer}.ln_2", "final": "ln_f"},
    "mlp": {"up": "h.{layer}.mlp.c_fc", "down": "h.{layer}.mlp.c_proj", "activation": "activation_function"},
    "epsilon": "layer_norm_epsilon", "head": "lm_head"
  },
  "defaults": {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true}
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
  "model": {
    "embedding": "embed_in", "placement": "before", "parallel": "use_parallel_residual",
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "mlp_input": "layers.{layer}.post_attention_layernorm",
              "final": "final_layer_norm"},
    "mlp": {"up": "layers.{layer}.mlp.dense_h_to_4h", "down": "layers.{layer}.mlp.dense_4h_to_h",
            "activation": "hidden_act"},
    "epsilon": "layer_norm_eps", "head": "embed_out"
  },
  "defaults": {"rotary_emb_base": 10000.0, "rotary_pct": 0.25,
               "hidden_act": "gelu", "layer_norm_eps": 1e-5, "tie_word_embeddings": false, "use_parallel_residual": true}
})"},
    {"llama", R"({
  "model_type": "llama",
  "prefixes": ["", "transformer.", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "model": {
    "embedding": "embed_tokens", "placement": "before",
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "mlp_input": "layers.{layer}.post_attention_layernorm",
              "final": "norm"},
    "mlp": {"gate": "layers.{layer}.mlp.gate_proj", "up": "layers.{layer}.mlp.up_proj", "down": "layers.{layer}.mlp.down_proj",
            "activation": "hidden_act"},
    "epsilon": "rms_norm_eps", "head": "lm_head"
  },
  "defaults": {"rope_theta": 10000.0,
               "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": false}
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
  "model": {
    "embedding": "embed_tokens", "placement": "before",
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "mlp_input": "layers.{layer}.post_attention_layernorm",
              "final": "norm"},
    "mlp": {"gate": "layers.{layer}.mlp.gate_proj", "up": "layers.{layer}.mlp.up_proj", "down": "layers.{layer}.mlp.down_proj",
            "activation": "hidden_act"},
    "epsilon": "rms_norm_eps", "head": "lm_head"
  },
  "defaults": {"num_key_value_heads": 8, "rope_theta": 10000.0, "sliding_window": 4096,
               "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": false}
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
  "model": {
    "embedding": "embed_tokens", "norm_kind": "rms", "placement": "on_branch",
    "norms": {"attention_output": "layers.{layer}.post_attention_layernorm", "mlp_output": "layers.{layer}.post_feedforward_layernorm",
              "final": "norm"},
    "mlp": {"gate": "layers.{layer}.mlp.gate_proj", "up": "layers.{layer}.mlp.up_proj", "down": "layers.{layer}.mlp.down_proj",
            "activation": "hidden_act"},
    "epsilon": "rms_norm_eps", "head": "lm_head"
  },
  "defaults": {"rope_theta": 10000.0,
               "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": false}
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
  "model": {
    "embedding": "embed_tokens", "placement": "before", "parallel": true,
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "final": "final_layernorm"},
    "mlp": {"up": "layers.{layer}.mlp.fc1", "down": "layers.{layer}.mlp.fc2", "activation": "hidden_act"},
    "epsilon": "layer_norm_eps", "head": "lm_head"
  },
  "defaults": {"rope_theta": 10000.0, "partial_rotary_factor": 0.5,
               "hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "tie_word_embeddings": false}
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
  "model": {
    "embedding": "embed_tokens", "placement": "before",
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "mlp_input": "layers.{layer}.post_attention_layernorm",
              "final": "norm"},
    "mlp": {"gate_up": "layers.{layer}.mlp.gate_up_proj", "down": "layers.{layer}.mlp.down_proj",
            "activation": "hidden_act"},
    "epsilon": "rms_norm_eps", "head": "lm_head"
  },
  "defaults": {"rope_theta": 10000.0, "partial_rotary_factor": 1.0,
               "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": false}
})"},
    {"qwen2", R"({
  "model_type": "qwen2",
  "prefixes": ["", "transformer.", "model."],
  "sizes": {"layers": "num_hidden_layers", "hidden_size": "hidden_size", "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads", "head_dim": "head_dim"},
  "query": "layers.{layer}.self_attn.q_proj",
  "key": "layers.{layer}.self_attn.k_proj",
  "value": "layers.{layer}.self_attn.v_proj",
  "output": "layers.{layer}.self_attn.o_proj",
  "norm": {"kind": "rms", "modules": "layers.{layer}.input_layernorm"},
  "positions": {"kind": "rotary", "base": "rope_theta"},
  "window": {"size": "sliding_window", "flag": "use_sliding_window", "layers": "from_max_window_layers"},
  "model": {
    "embedding": "embed_tokens", "placement": "before",
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "mlp_input": "layers.{layer}.post_attention_layernorm",
              "final": "norm"},
    "mlp": {"gate": "layers.{layer}.mlp.gate_proj", "up": "layers.{layer}.mlp.up_proj", "down": "layers.{layer}.mlp.down_proj",
            "activation": "hidden_act"},
    "epsilon": "rms_norm_eps", "head": "lm_head"
  },
  "defaults": {"num_key_value_heads": 32, "rope_theta": 10000.0, "sliding_window": 4096, "max_window_layers": 28,
               "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": false}
})"},
    {"qwen3", R"({
  "model_type": "qwen3",
  "prefixes": ["", "transformer.", "model."],
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
  "model": {
    "embedding": "embed_tokens", "placement": "before",
    "norms": {"attention_input": "layers.{layer}.input_layernorm", "mlp_input": "layers.{layer}.post_attention_layernorm",
              "final": "norm"},
    "mlp": {"gate": "layers.{layer}.mlp.gate_proj", "up": "layers.{layer}.mlp.up_proj", "down": "layers.{layer}.mlp.down_proj",
            "activation": "hidden_act"},
    "epsilon": "rms_norm_eps", "head": "lm_head"
  },
  "defaults": {"num_key_value_heads": 32, "head_dim": 128, "rope_theta": 10000.0, "sliding_window": 4096,
               "max_window_layers": 28,
               "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": false}
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
             "tables of relative positions are multiplied with queries and keys, which breaks their gauge, and are not supported yet"}},
  "model": {
    "embedding": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings", "padding": "pad_token_id",
    "token_types": "embeddings.token_type_embeddings", "placement": "after",
    "norms": {"embedding": "embeddings.LayerNorm", "attention_output": "encoder.layer.{layer}.attention.output.LayerNorm",
              "mlp_output": "encoder.layer.{layer}.output.LayerNorm"},
    "mlp": {"up": "encoder.layer.{layer}.intermediate.dense", "down": "encoder.layer.{layer}.output.dense",
            "activation": "hidden_act"},
    "epsilon": "layer_norm_eps"
  },
  "defaults": {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 1}
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
  "causal": false,
  "model": {
    "embedding": "embeddings.patch_embeddings.projection", "class_token": "embeddings.cls_token",
    "positions": "embeddings.position_embeddings", "placement": "before",
    "norms": {"attention_input": "encoder.layer.{layer}.layernorm_before",
              "mlp_input": "encoder.layer.{layer}.layernorm_after", "final": "layernorm"},
    "mlp": {"up": "encoder.layer.{layer}.intermediate.dense", "down": "encoder.layer.{layer}.output.dense",
            "activation": "hidden_act"},
    "epsilon": "layer_norm_eps"
  },
  "defaults": {"hidden_act": "gelu", "layer_norm_eps": 1e-12}
})"},
};

}  // namespace

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const FamilyTable& table : tables) {
    if (names.empty() || names.back() != table.model_type) names.emplace_back(table.model_type);
  }
  return names;
}

std::vector<std::string> family_tables(std::string_view model_type) {
  std::vector<std::string> result;
  for (const FamilyTable& table : tables) {
    if (table.model_type == model_type) result.emplace_back(table.json);
  }
  return result;
}

}  // namespace attnsym
