"""Edited copies of a model directory: changes that alter what its attention computes, and changes that only look as if.

Each function copies SOURCE to TARGET (which must not exist) and changes the copy. Everything random is seeded.
"""

import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import bert_model
import safetensors_numpy


@contextmanager
def edited_copy(source, target):
    """Yields the model; what was stored into its tensors is then written to the copy."""
    shutil.copytree(source, target)
    model = bert_model.load(target)
    yield model
    safetensors_numpy.write(Path(target) / "model.safetensors", model.tensors)


def nudge_weight(source, target, layer, head, slot, fraction, seed=0):
    """One weight of one head moves by a fraction of its matrix's RMS. Function: changed."""
    with edited_copy(source, target) as model:
        weight = model.attention(layer, slot, "weight").copy()
        entry = np.random.default_rng(seed).integers(weight[_part(model, head, slot)].shape)
        weight[_part(model, head, slot)][tuple(entry)] += fraction * np.sqrt((weight**2).mean())
        _store(model, layer, slot, "weight", weight)


def shift_key_bias(source, target, seed=0):
    """Every key bias moves by a random vector; softmax does not see it. Function: same."""
    random = np.random.default_rng(seed)
    with edited_copy(source, target) as model:
        for layer in range(model.layers):
            bias = model.attention(layer, "key", "bias")
            _store(model, layer, "key", "bias", bias + random.standard_normal(bias.shape))


def move_value_bias(source, target):
    """Value biases become 0 and their constant contribution goes into the output bias. Function: same."""
    with edited_copy(source, target) as model:
        for layer in range(model.layers):
            value = model.attention(layer, "value", "bias")
            carried = model.attention(layer, "output", "weight") @ value
            _store(model, layer, "output", "bias", model.attention(layer, "output", "bias") + carried)
            _store(model, layer, "value", "bias", np.zeros_like(value))


def forget_value_bias(source, target, layer):
    """The bias is dropped instead of moved. Function: changed, by a constant of the layer."""
    with edited_copy(source, target) as model:
        _store(model, layer, "value", "bias", 0 * model.attention(layer, "value", "bias"))


def swap_heads(source, target, layer, i, j, slots=("query", "key", "value", "output")):
    """Heads i and j trade places in the given slots only. Function: same if all four, changed otherwise.

    With value and output alone, the attention pattern of each head carries the other's values.
    """
    with edited_copy(source, target) as model:
        for slot in slots:
            weight = model.attention(layer, slot, "weight").copy()
            _swap(weight, _part(model, i, slot), _part(model, j, slot))
            _store(model, layer, slot, "weight", weight)
            if slot != "output":
                bias = model.attention(layer, slot, "bias").copy()
                _swap(bias, model.rows(i), model.rows(j))
                _store(model, layer, slot, "bias", bias)


def transpose_projection(source, target, layer, slot):
    """The classic slip of a Linear read as a Conv1D. Function: changed."""
    with edited_copy(source, target) as model:
        _store(model, layer, slot, "weight", model.attention(layer, slot, "weight").T)


def regauge(source, target, seed=0):
    """A random change of basis inside every head, made here and not by the code under test. Function: same."""
    random = np.random.default_rng(seed)
    with edited_copy(source, target) as model:
        for layer in range(model.layers):
            for head in range(model.heads):
                size = model.width // model.heads
                a, b = (_well_conditioned(random, size) for _ in range(2))
                _multiply_head(model, layer, head, "query", np.linalg.inv(a).T)
                _multiply_head(model, layer, head, "key", a)
                _multiply_head(model, layer, head, "value", np.linalg.inv(b).T)
                _multiply_head(model, layer, head, "output", b)


def _multiply_head(model, layer, head, slot, matrix):
    """Stored rows [size, D] become matrix @ rows; the output projection has its heads in columns."""
    weight = model.attention(layer, slot, "weight").copy()
    part = _part(model, head, slot)
    weight[part] = weight[part] @ matrix.T if slot == "output" else matrix @ weight[part]
    _store(model, layer, slot, "weight", weight)
    if slot != "output":
        bias = model.attention(layer, slot, "bias").copy()
        bias[part] = matrix @ bias[part]
        _store(model, layer, slot, "bias", bias)


def _well_conditioned(random, size, condition=10):
    left, right = (np.linalg.qr(random.standard_normal((size, size)))[0] for _ in range(2))
    return left * np.geomspace(condition**-0.5, condition**0.5, size) @ right


def _part(model, head, slot):
    """Index of the head's weights in the stored matrix [out, in]."""
    return (slice(None), model.rows(head)) if slot == "output" else model.rows(head)


def _swap(array, i, j):
    array[i], array[j] = array[j].copy(), array[i].copy()


def _store(model, layer, slot, part, values):
    model.tensors.store(model.attention_name(layer, slot, part), values)
