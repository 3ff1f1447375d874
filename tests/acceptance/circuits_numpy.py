"""Rounding ratio and resolution of two matched heads from their definitions, with full D x D circuits.

The entry w of a file is within a relative u of what was meant; taken as uniform it has variance (u w)^2 / 3. To first
order the circuit sum_k L[:, k] R[k, :] then has the total variance (u_L^2 + u_R^2) / 3 * sum_k |L[:, k]|^2 |R[k, :]|^2.
"""

import numpy as np

UNIT_ROUNDOFF = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}


def compare_heads(a, b, layer, head_a, head_b):
    """{"qk": (ratio, resolution), "vo": (ratio, resolution)} of two BertModels."""
    pairs = zip(("qk", "vo"), _circuits(a, layer, head_a), _circuits(b, layer, head_b))
    return {name: _compare(*pair) for name, *pair in pairs}


def _compare(a, b):
    (left_a, right_a, units_a), (left_b, right_b, units_b) = a, b
    circuit = left_a @ right_a
    noise = np.sqrt(_variance(left_a, right_a, units_a) + _variance(left_b, right_b, units_b))
    return np.linalg.norm(circuit - left_b @ right_b) / noise, noise / np.linalg.norm(circuit)


def _variance(left, right, units):
    return sum(unit**2 for unit in units) / 3 * ((left**2).sum(axis=0) @ (right**2).sum(axis=1))


def _circuits(model, layer, head):
    """QK with the query bias as one more row, and VO: each its left and right factor and their unit roundoffs."""
    rows = model.rows(head)
    weight = {slot: model.attention(layer, slot, "weight") for slot in ("query", "key", "value", "output")}
    unit = {slot: UNIT_ROUNDOFF[model.tensors.dtypes[model.attention_name(layer, slot, "weight")]] for slot in weight}
    query = np.vstack([weight["query"][rows].T, model.attention(layer, "query", "bias")[rows]])
    return ((query, weight["key"][rows], (unit["query"], unit["key"])),
            (weight["value"][rows].T, weight["output"][:, rows].T, (unit["value"], unit["output"])))
