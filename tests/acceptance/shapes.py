"""Copies of a BERT directory whose heads have another number or another width. Function: same, unless said otherwise.

Each function copies SOURCE to TARGET, which must not exist, and rewrites its attention and its config.json.
"""

import json
from pathlib import Path

import numpy as np

from bert_model import SLOTS
from edits import edited_copy

EXTRA = 4  # coordinates of a padded head


def pad_heads(source, target, fold_scale=True):
    """Every head has more coordinates, all zero. The queries make up for the smaller scale, or (changed) do not."""
    def heads(old):
        factor = np.sqrt((old["query"].shape[1] + EXTRA) / old["query"].shape[1]) if fold_scale else 1.0
        wider = {slot: np.pad(part, [(0, 0), (0, EXTRA)] + [(0, 0)] * (part.ndim - 2)) for slot, part in old.items()}
        wider["query"], wider["query_bias"] = factor * wider["query"], factor * wider["query_bias"]
        return wider

    _reshape(source, target, heads)


def add_zero_head(source, target):
    """One more head, all zero."""
    _reshape(source, target, lambda old: {slot: np.concatenate([part, 0 * part[:1]]) for slot, part in old.items()})


def split_heads(source, target):
    """Every head becomes two that attend alike, each with half of the values."""
    def heads(old):
        half = np.arange(old["value"].shape[1]) % 2 == 0
        new = {slot: np.repeat(part, 2, axis=0) for slot, part in old.items()}
        for slot in ("value", "value_bias", "output"):
            new[slot][0::2, half] = 0
            new[slot][1::2, ~half] = 0
        return new

    _reshape(source, target, heads)


def _reshape(source, target, heads):
    with edited_copy(source, target) as model:
        for layer in range(model.layers):
            new = heads(_read(model, layer))
            _write(model, layer, new)
        count, width = new["query"].shape[:2]
        model.config |= {"num_attention_heads": count, "head_dim": width}
        (Path(target) / "config.json").write_text(json.dumps(model.config, indent=2) + "\n")


def _read(model, layer):
    """[heads, head width, D] of every slot, and [heads, head width] of the biases that belong to heads."""
    parts = {}
    for slot in SLOTS:
        weight = model.attention(layer, slot, "weight")
        parts[slot] = (weight.T if slot == "output" else weight).reshape(model.heads, -1, model.width).copy()
        if slot != "output":
            parts[slot + "_bias"] = model.attention(layer, slot, "bias").reshape(model.heads, -1).copy()
    return parts


def _write(model, layer, parts):
    for slot in SLOTS:
        weight = parts[slot].reshape(-1, model.width)
        model.tensors.store(model.attention_name(layer, slot, "weight"), weight.T if slot == "output" else weight)
        if slot != "output":
            model.tensors.store(model.attention_name(layer, slot, "bias"), parts[slot + "_bias"].ravel())
