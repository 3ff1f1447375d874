"""Copies of a model directory that say the same otherwise, or whose config says something else.

Each function copies SOURCE to TARGET, which must not exist.
"""

from dataclasses import replace

import numpy as np

from family_model import edited_copy


def write_out_groups(source, target):
    """Grouped attention as one with a key and a value for every head: the same function. Needs num_key_value_heads.

    A gain that the groups share stays as it is; a mean over all keys is the same over equally many copies of each.
    """
    with edited_copy(source, target) as model:
        heads = [(model.heads(layer), model.attention(layer).readers) for layer in range(model.layers)]
        text = model.config.get("text_config", model.config)
        text["num_key_value_heads"] = text["num_attention_heads"]
        for layer, (grouped, readers) in enumerate(heads):
            parts = ["key", "value", "key_bias", "value_bias"]
            if grouped.key_gain is not None and len(grouped.key_gain) > 1:
                parts.append("key_gain")
            repeated = {part: _repeated(getattr(grouped, part), readers) for part in parts}
            model.store(layer, replace(grouped, **repeated))


def _repeated(values, readers):
    return None if values is None else np.repeat(values, readers, axis=0)


def change_rotary_base(source, target, factor=2.0):
    """Another base of the rotary frequencies, wherever the config keeps it: another function."""
    with edited_copy(source, target) as model:
        scale_everywhere(model.config, ("rope_theta", "rotary_emb_base", "rope_local_base_freq"), factor)


def change_softcap(source, target, factor=2.0):
    """Another function."""
    with edited_copy(source, target) as model:
        scale_everywhere(model.config, ("attn_logit_softcapping",), factor)


def change_window(source, target):
    """Every window one token shorter: another function for layers that have one."""
    with edited_copy(source, target) as model:
        text = model.config.get("text_config", model.config)
        text["sliding_window"] -= 1


def scale_everywhere(config, keys, factor):
    """Multiplies these numbers of a config, however deep they are."""
    for key, value in config.items():
        if isinstance(value, dict):
            scale_everywhere(value, keys, factor)
        elif key in keys and value is not None:
            config[key] = factor * value
