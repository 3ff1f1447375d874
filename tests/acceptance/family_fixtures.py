"""Small checkpoints of every family, with random weights: family_fixtures.py NAME OUTDIR [DTYPE] or --list

A directory holds config.json, with the keys the family's files have, and model.safetensors, complete. Query and key of
a head share directions and singular values fall off, as in trained models, so that no two heads can be mistaken.
"""

import json
import sys
from pathlib import Path

import numpy as np

import families
import family_layout
import safetensors_numpy
from attention_numpy import Heads

LAYERS = 2
_ENCODER = {"hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 40,
            "hidden_act": "gelu", "layer_norm_eps": 1e-12}
_TEXT_ENCODER = {**_ENCODER, "vocab_size": 24, "max_position_embeddings": 64, "type_vocab_size": 2}
_LLAMA = {"hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
          "intermediate_size": 40, "hidden_act": "silu", "vocab_size": 24, "max_position_embeddings": 64,
          "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": True}
_GEMMA = {**{key: value for key, value in _LLAMA.items() if key != "hidden_act"},
          "hidden_activation": "gelu_pytorch_tanh", "head_dim": 16, "attention_bias": False}
_FALCON = {"model_type": "falcon", "hidden_size": 48, "num_hidden_layers": LAYERS, "num_attention_heads": 6,
           "layer_norm_epsilon": 1e-5, "vocab_size": 24, "max_position_embeddings": 64, "rope_theta": 10000.0}
_GEMMA3 = {"head_dim": 8, "query_pre_attn_scalar": 12, "sliding_window": 3, "sliding_window_pattern": 2}

FIXTURES = {
    "bert": {"model_type": "bert", **_TEXT_ENCODER, "position_embedding_type": "absolute"},
    "roberta": {"model_type": "roberta", **_TEXT_ENCODER, "layer_norm_eps": 1e-5, "max_position_embeddings": 66},
    "vit": {"model_type": "vit", **_ENCODER, "image_size": 8, "patch_size": 2, "num_channels": 3, "qkv_bias": True},
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_inner": 40, "n_positions": 64,
             "vocab_size": 24, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
             "scale_attn_by_inverse_layer_idx": True},
    "gpt_neox": {"model_type": "gpt_neox", "hidden_size": 48, "num_hidden_layers": LAYERS, "num_attention_heads": 3,
                 "intermediate_size": 40, "hidden_act": "gelu", "vocab_size": 24, "max_position_embeddings": 64,
                 "layer_norm_eps": 1e-5, "rotary_pct": 0.25, "rotary_emb_base": 10000, "use_parallel_residual": True,
                 "tie_word_embeddings": False},
    "bloom": {"model_type": "bloom", "hidden_size": 48, "n_layer": LAYERS, "n_head": 6, "vocab_size": 24,
              "layer_norm_epsilon": 1e-5},
    "falcon-grouped": {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "parallel_attn": True},
    "falcon-multi-query": {**_FALCON, "multi_query": True, "parallel_attn": True},
    "falcon-per-head": {**_FALCON, "multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
    "llama": {"model_type": "llama", **_LLAMA},
    "llama-scaled": {"model_type": "llama", **_LLAMA, "attention_bias": True, "max_position_embeddings": 128,
                     "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                      "high_freq_factor": 4.0, "original_max_position_embeddings": 64}},
    "mistral": {"model_type": "mistral", **_LLAMA, "sliding_window": 3},
    "qwen2": {"model_type": "qwen2", **_LLAMA, "use_sliding_window": False, "sliding_window": 3,
              "max_window_layers": 2},
    "qwen2-yarn": {"model_type": "qwen2", **_LLAMA, "use_sliding_window": True, "sliding_window": 3,
                   "max_window_layers": 1, "rope_scaling": {"type": "yarn", "factor": 4.0,
                                                            "original_max_position_embeddings": 16}},
    "qwen3": {"model_type": "qwen3", **_LLAMA, "head_dim": 12, "attention_bias": False,
              "rope_theta": 1000000, "use_sliding_window": False},
    "gemma": {"model_type": "gemma", **_GEMMA, "num_key_value_heads": 1},
    "gemma2": {"model_type": "gemma2", **_GEMMA, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 3.0,
               "final_logit_softcapping": 30.0, "sliding_window": 3},
    "gemma3_text": {"model_type": "gemma3_text", **_GEMMA, **_GEMMA3, "rope_theta": 1000000.0,
                    "rope_local_base_freq": 10000.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "gemma3": {"model_type": "gemma3", "text_config": {
        "model_type": "gemma3_text", **{key: value for key, value in _GEMMA.items() if key != "rope_theta"}, **_GEMMA3,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}},
    "phi": {"model_type": "phi", **_LLAMA, "num_key_value_heads": None, "layer_norm_eps": 1e-5,
            "hidden_act": "gelu_new", "partial_rotary_factor": 0.5, "qk_layernorm": False,
            "tie_word_embeddings": False},
    "phi3": {"model_type": "phi3", **_LLAMA, "rms_norm_eps": 1e-5, "sliding_window": None,
             "tie_word_embeddings": False},
    "phi3-longrope": {"model_type": "phi3", **_LLAMA, "partial_rotary_factor": 0.75, "sliding_window": 5,
                      "max_position_embeddings": 64, "original_max_position_embeddings": 16,
                      "tie_word_embeddings": False,
                      "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1, 1.3],
                                       "long_factor": [1.0, 2.0, 4.0]}},
    "olmo2": {"model_type": "olmo2", **_LLAMA, "rms_norm_eps": 1e-6, "attention_bias": False,
              "rope_theta": 500000.0},
}


def make(name, directory, dtype="F32", seed=1, sizes=None):
    """Writes the checkpoint; the directory must not exist. `sizes` are other values for keys of its config."""
    config, random = _with_sizes(FIXTURES[name], sizes or {}), np.random.default_rng(seed)
    family, file = families.find(config), safetensors_numpy.TensorFile(metadata={"format": "pt"})
    for layer in range(LAYERS):
        attention = family.attention(config, layer)
        heads = _random_heads(family, config, attention, random)
        family_layout.write(family.layout, file, layer, attention, heads, dtype)
        _store_others(family, config, file, f"{layer}", random, dtype)
    _store_others(family, config, file, None, random, dtype)
    directory = Path(directory)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    safetensors_numpy.write(directory / "model.safetensors", file)


def _with_sizes(config, sizes):
    if "text_config" in config:
        return {**config, "text_config": {**config["text_config"], **sizes}}
    return {**config, **sizes}


def _random_heads(family, config, attention, random):
    of_qkv, of_output = _has_biases(family, config)
    query, key = _related(attention, random)
    output, value = _related(attention, random)

    def bias(wanted, *shape):
        return 0.3 * random.standard_normal(shape) if wanted else None

    def gain(count):
        count = count if attention.norm.over_all_heads else 1
        return 1 - attention.norm.offset + random.uniform(-0.5, 0.5, (count, attention.head))

    gains = family.layout.gains
    return Heads(
        query, key, value, output.transpose(0, 2, 1),
        bias(of_qkv, attention.heads, attention.head), bias(of_qkv, attention.groups, attention.head),
        bias(of_qkv, attention.groups, attention.head), bias(of_output, attention.width),
        gain(attention.heads) if gains else None, gain(attention.groups) if gains else None)


def _related(attention, random):
    """Two factors of circuits, [heads, head, width] and [groups, head, width]: heavy-tailed, partly aligned."""
    size, width = attention.head, attention.width
    scale = random.uniform(0.6, 1.1, (attention.groups, 1, 1)) * np.geomspace(1, 0.4, size)[:, None] / width**0.5
    shared, of_group = random.standard_t(5, (2, attention.groups, size, width))
    of_heads = random.standard_t(5, (attention.heads, size, width))
    for_heads = [np.repeat(part, attention.readers, axis=0) for part in (scale, shared)]
    return for_heads[0] * (for_heads[1] + of_heads), scale * (shared + of_group)


def _has_biases(family, config):
    """Of query, key and value; of the output."""
    if config["model_type"] == "vit":
        return config["qkv_bias"], True
    said = config.get("attention_bias", config.get("bias"))
    return family.biased if said is None else (said, said)


def _store_others(family, config, file, layer, random, dtype):
    """The tensors outside of attention, of one layer or of none."""
    for pattern, axes in family.others.items():
        if ("{layer}" in pattern) == (layer is not None):
            name, shape = pattern.format(layer=layer), [_axis(config, axis) for axis in axes.split()]
            values = 0.1 * random.standard_normal(shape)
            if "norm" in name.lower() or "ln_" in name:
                values += name.endswith("weight") and "gemma" not in config["model_type"]
            file.store(name, values, dtype)


def _axis(config, axis):
    text = config.get("text_config", config)
    width = _size(text, "hidden_size", "n_embd")
    patches = (text.get("image_size", 0) // text.get("patch_size", 1)) ** 2 + 1
    sizes = {"D": width, "I": _size(text, "intermediate_size", "n_inner", "ffn_hidden_size", default=4 * width),
             "V": text.get("vocab_size"), "P": _size(text, "max_position_embeddings", "n_positions", default=patches)}
    return 2 * sizes["I"] if axis == "2I" else sizes[axis] if axis in sizes else int(axis)


def _size(config, *keys, default=None):
    """What the family calls it."""
    config = config.get("text_config", config)
    return next((config[key] for key in keys if key in config), default)


def main():
    if sys.argv[1:] == ["--list"]:
        print(*FIXTURES, sep="\n")
    elif len(sys.argv) in (3, 4) and sys.argv[1] in FIXTURES:
        make(*sys.argv[1:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
