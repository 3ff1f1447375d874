"""What config.json says that the attention of a layer computes, family by family, with the defaults of transformers.

Read off the configuration and modeling files of transformers 4.57 and 5.24. An absent key and a null are not the same:
an absent one takes the default of the family's class.
"""

import math

import numpy as np

import rotary_numpy
from attention_numpy import Attention, QkNorm


def bert(config, layer):
    return Attention(**_sizes(config), causal=config.get("is_decoder", False))


def vit(config, layer):
    return Attention(**_sizes(config), causal=False)


def gpt2(config, layer):
    sizes = _sizes({"hidden_size": config["n_embd"], "num_attention_heads": config["n_head"]})
    if not config.get("scale_attn_weights", True):
        sizes["scale"] = 1.0
    if config.get("scale_attn_by_inverse_layer_idx", False):
        sizes["scale"] /= layer + 1
    return Attention(**sizes)


def gpt_neox(config, layer):
    sizes = _sizes(config)
    return Attention(**sizes, **_rotary(config, sizes["head"], base_key="rotary_emb_base", part_key="rotary_pct",
                                        part=0.25))


def bloom(config, layer):
    width = config.get("n_embed") or config["hidden_size"]
    sizes = _sizes({"hidden_size": width, "num_attention_heads": config["n_head"]})
    return Attention(**sizes, slopes=alibi_slopes(sizes["heads"]))


def falcon(config, layer):
    heads = config["num_attention_heads"]
    if config.get("new_decoder_architecture", False):
        groups = config.get("num_kv_heads") or heads
    else:
        groups = 1 if config.get("multi_query", True) else heads
    sizes = _sizes({**config, "num_key_value_heads": groups})
    if config.get("alibi", False):  # the slopes, in bfloat16, are scaled like the products
        return Attention(**sizes, slopes=sizes["scale"] * _to_bfloat16(alibi_slopes(heads)))
    return Attention(**sizes, **_rotary(config, sizes["head"]))


def llama(config, layer):
    sizes = _sizes(config)
    return Attention(**sizes, **_rotary(config, sizes["head"]))


def mistral(config, layer):
    sizes = _sizes(config, groups=8)
    return Attention(**sizes, **_rotary(config, sizes["head"]), window=config.get("sliding_window", 4096))


def qwen2(config, layer):
    sizes = _sizes(config, groups=32)
    return Attention(**sizes, **_rotary(config, sizes["head"]), window=_qwen_window(config, layer))


def qwen3(config, layer):
    sizes = _sizes(config, groups=32, head=128)
    return Attention(**sizes, **_rotary(config, sizes["head"]), window=_qwen_window(config, layer),
                     norm=QkNorm(config.get("rms_norm_eps", 1e-6)))


def gemma(config, layer):
    sizes = _sizes(config, groups=16, head=256)
    return Attention(**sizes, **_rotary(config, sizes["head"]), causal=_gemma_causal(config))


def gemma2(config, layer):
    sizes = _gemma_sizes(config)
    sliding = _layer_type(config, layer, layer % 2 == 0) == SLIDING
    return Attention(**sizes, **_rotary(config, sizes["head"]), causal=_gemma_causal(config),
                     window=config.get("sliding_window", 4096) if sliding else None,
                     softcap=config.get("attn_logit_softcapping", 50.0))


def gemma3(config, layer):
    """The softcap of the config is not applied to attention by either version of transformers."""
    config = config.get("text_config", config)
    sizes = _gemma_sizes(config)
    kind = _layer_type(config, layer, (layer + 1) % config.get("sliding_window_pattern", 6) != 0)
    if kind == SLIDING:
        unscaled = {key: value for key, value in config.items() if key != "rope_scaling"}
        rotary = _rotary(unscaled, sizes["head"], base_key="rope_local_base_freq", kind=kind)
        window = config.get("sliding_window", 4096)
    else:
        rotary, window = _rotary(config, sizes["head"], base=1e6, kind=kind), None
    norm = QkNorm(config.get("rms_norm_eps", 1e-6), offset=1.0)
    return Attention(**sizes, **rotary, causal=_gemma_causal(config), window=window, norm=norm)


def phi(config, layer):
    sizes = _sizes(config)
    return Attention(**sizes, **_rotary(config, sizes["head"], part=0.5))


def phi3(config, layer):
    sizes = _sizes(config)
    return Attention(**sizes, **_rotary(config, sizes["head"]), window=config.get("sliding_window"))


def olmo2(config, layer):
    sizes = _sizes(config)
    norm = QkNorm(config.get("rms_norm_eps", 1e-5), over_all_heads=True)
    return Attention(**sizes, **_rotary(config, sizes["head"]), norm=norm)


def alibi_slopes(heads):
    """2^(-8/p), 2^(-16/p), … for the first p heads, p the largest power of two; the rest lie half way between."""
    power = 2 ** int(math.log2(heads))
    exponents = [8 * (i + 1) / power for i in range(power)]
    exponents += [4 * (2 * i + 1) / power for i in range(heads - power)]
    return 2.0 ** -np.array(exponents)


FULL, SLIDING = "full_attention", "sliding_attention"


def _sizes(config, groups=None, head=None):
    """`groups` and `head` stand for absent keys; null means one group per head, and width / heads."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    groups = config.get("num_key_value_heads", groups) or heads
    head = config.get("head_dim", head) or width // heads
    return {"width": width, "heads": heads, "groups": groups, "head": head, "scale": head**-0.5}


def _gemma_sizes(config):
    scalar = config.get("query_pre_attn_scalar", 256)
    return {**_sizes(config, groups=4, head=256), "scale": scalar**-0.5}


def _gemma_causal(config):
    return not config.get("use_bidirectional_attention")


def _qwen_window(config, layer):
    if not config.get("use_sliding_window", False):
        return None
    sliding = _layer_type(config, layer, layer >= config.get("max_window_layers", 28)) == SLIDING
    return config.get("sliding_window", 4096) if sliding else None


def _layer_type(config, layer, sliding):
    """`sliding` is what the layer is if no list of layer types is given."""
    types = config.get("layer_types")
    return types[layer] if types else (SLIDING if sliding else FULL)


def _rotary(config, head, base_key="rope_theta", base=10000.0, part_key="partial_rotary_factor", part=1.0, kind=None):
    """New files keep everything in rope_parameters, perhaps by kind of layer; older ones use rope_scaling and keys of
    their own; what is given nowhere takes its default."""
    given = config.get("rope_scaling") or config.get("rope_parameters") or {}
    given = given.get(kind, given)
    parameters = {"rope_type": given.get("type", "default"), "rope_theta": config.get(base_key, base),
                  "partial_rotary_factor": config.get(part_key, part), **given}
    if "original_max_position_embeddings" in config:
        parameters["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    width = int(head * parameters["partial_rotary_factor"])
    frequencies, gain = rotary_numpy.frequencies(parameters, width, config.get("max_position_embeddings"))
    return {"frequencies": frequencies, "rotary_gain": gain}


def _to_bfloat16(values):
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return rounded.astype(np.uint32).view(np.float32).astype(np.float64)
