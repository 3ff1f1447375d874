"""Other legal values for the keys of config.json: what a file might say instead of what it says.

`changes(config)` lists them for a configuration, each a table of keys and values, ABSENT where the key is taken out.
Keys that the family does not know are among them: its class may read them all the same, or the command by mistake.
The order is that of the recorded outcomes: whoever changes this file has to record them anew.
"""

import copy

ABSENT = "(absent)"
_ACTIVATIONS = ["relu", "silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu2"]
_EPSILONS = [1e-3, 1e-12]
_SCALINGS = [
    {"rope_type": "linear", "factor": 4.0},
    {"type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 4.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 32},
    {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [1.0, 2.0, 4.0, 7.0],
     "original_max_position_embeddings": 32},
    {"rope_type": "default"},
]
_LAYER_TYPES = [["sliding_attention", "full_attention"], ["full_attention", "sliding_attention"],
                ["full_attention"] * 2, ["sliding_attention"] * 2]

# Keys of any family. What a family has already is left out.
VALUES = {
    "activation": _ACTIVATIONS, "activation_function": _ACTIVATIONS, "hidden_act": _ACTIVATIONS,
    "hidden_activation": _ACTIVATIONS,
    "add_cross_attention": [True], "alibi": [True, False], "apply_residual_connection_post_layernorm": [True],
    "attention_bias": [True, False], "attention_dropout": [0.5], "attention_multiplier": [0.1],
    "attn_logit_softcapping": [1.0, None], "bias": [True, False], "chunk_size_feed_forward": [1], "clip_qkv": [0.05],
    "dtype": ["bfloat16", "float64"], "embedding_multiplier": [3.0], "encoder_stride": [4],
    "ffn_hidden_size": [16], "final_logit_softcapping": [1.0, None], "head_dim": [4, 8, 16, None],
    "hidden_dropout": [0.5], "hidden_dropout_prob": [0.5], "hidden_size": [16], "initializer_range": [0.5], "intermediate_size": [16],
    "is_causal": [True, False], "is_decoder": [True, False], "layer_norm_eps": _EPSILONS,
    "layer_norm_epsilon": _EPSILONS, "rms_norm_eps": _EPSILONS, "layer_types": _LAYER_TYPES,
    "logit_scale": [0.5], "logits_scaling": [2.0],
    "max_position_embeddings": [16, 128], "n_positions": [64, 128], "max_window_layers": [0, 1, 28],
    "mlp_bias": [True, False], "model_parallel": [True], "multi_query": [True, False], "n_embd": [24, 32],
    "n_embed": [24, 32], "n_head": [2, 4], "n_inner": [20, None], "n_layer": [1],
    "new_decoder_architecture": [True, False],
    "num_attention_heads": [2, 8], "num_hidden_layers": [1, 3], "num_key_value_heads": [1, 4, None],
    "num_kv_heads": [1, 4],
    "num_ln_in_parallel_attn": [1, 2], "original_max_position_embeddings": [16, 100], "pad_token_id": [5],
    "parallel_attn": [True, False], "partial_rotary_factor": [0.5, 1.0], "pooler_act": ["relu"],
    "position_embedding_type": ["relative_key", "absolute"], "pretraining_tp": [2], "problem_type": ["regression"],
    "qk_layernorm": [True], "qkv_bias": [True, False], "query_pre_attn_scalar": [24, 8],
    "reorder_and_upcast_attn": [True], "residual_multiplier": [0.5], "rope_scaling": [*_SCALINGS, None],
    "rope_local_base_freq": [500.0], "rope_theta": [500.0, 10000.0], "rotary_emb_base": [500],
    "rotary_pct": [0.25, 1.0],
    "scale_attn_by_inverse_layer_idx": [True], "scale_attn_weights": [False], "sliding_window": [3, 5, None],
    "sliding_window_pattern": [1, 2], "_sliding_window_pattern": [1, 2], "slow_but_exact": [True],
    "tie_word_embeddings": [True, False], "type_vocab_size": [1, 3], "use_bidirectional_attention": [True, False],
    "use_cache": [False], "use_parallel_residual": [True, False], "use_sliding_window": [True, False],
    "vocab_size": [20], "image_size": [16], "patch_size": [4], "num_channels": [1],
    "mm_tokens_per_image": [16], "image_token_index": [20], "num_experts": [4],
}
_LEFT_ALONE = ("model_type", "architectures", "transformers_version", "text_config", "vision_config", "id2label",
               "label2id", "rope_parameters", "boi_token_index", "eoi_token_index", "bos_token_id", "eos_token_id")


def changes(config):
    """Every change of one key; keys within a nested table are written with a dot."""
    found = [{key: value} for key, value in _of_table(config)]
    for table in ("text_config", "vision_config"):
        if table in config:
            inner = config[table]
            found += [{f"{table}.{key}": value} for key, value in _of_table(inner) if key in inner or table[0] == "t"]
            found += [{f"{table}.{key}": value for key, value in one.items()} for one in _rotary(inner)]
    return found + _rotary(config)


def _of_table(config):
    for key in sorted({*VALUES, *config} - set(_LEFT_ALONE)):
        for value in VALUES.get(key, _by_type(config.get(key))):
            if key not in config or (value != config[key] or isinstance(value, bool) != isinstance(config[key], bool)):
                yield key, value
        if key in config:
            yield key, ABSENT


def _by_type(value):
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value * 2]
    return []


def _rotary(config):
    """Changes of rope_parameters: of its entries, by kind of layer where it has them, and of the whole."""
    if "rope_parameters" not in config:
        return []
    parameters = config["rope_parameters"]
    kinds = [key for key, value in parameters.items() if isinstance(value, dict)]
    found = [ABSENT, {"rope_type": "default", "rope_theta": 500.0}]
    for part in [(kind,) for kind in kinds] or [()]:
        inner = parameters[part[0]] if part else parameters
        for other in _rotary_entries(inner):
            whole = copy.deepcopy(parameters)
            if part:
                whole[part[0]] = other
            found.append(whole if part else other)
    return [{"rope_parameters": value} for value in found]


def _rotary_entries(inner):
    for scaling in _SCALINGS:
        yield {"rope_theta": inner.get("rope_theta", 10000.0), **scaling}
    for key, values in {"rope_theta": [500.0], "partial_rotary_factor": [0.5, 1.0], "factor": [2.0],
                        "original_max_position_embeddings": [16, 40], "attention_factor": [1.5], "beta_fast": [16.0],
                        "mscale": [2.0], "truncate": [False], "low_freq_factor": [0.5], "high_freq_factor": [3.0],
                        "long_factor": [[1.0, 3.0, 5.0, 9.0]], "short_factor": [[1.0, 1.2, 1.4, 1.6]]}.items():
        for value in values:
            yield {**inner, key: value}
    for key in inner:
        yield {name: value for name, value in inner.items() if name != key}


def apply(config, change):
    """A copy with the change made."""
    result = copy.deepcopy(config)
    for path, value in change.items():
        *tables, key = path.split(".")
        table = result
        for name in tables:
            table = table[name]
        if value == ABSENT:
            table.pop(key, None)
        else:
            table[key] = value
    return result
