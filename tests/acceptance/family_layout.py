"""Where the heads of a layer lie in the stored tensors, and how they get there and back."""

from dataclasses import dataclass
from typing import Callable

import numpy as np

from attention_numpy import Heads

SLOTS = ("query", "key", "value")


@dataclass(frozen=True)
class Layout:
    """`projections` are the modules of query, key and value; a single one holds all three, ordered by `packing`.

    Weights are [out, in], or [in, out] if transposed. `gains` are the norms of query and key, if there are any.
    """

    module: str  # what stands before every name; {layer} is the layer's number
    projections: tuple
    output: str
    packing: Callable | None = None
    transposed: bool = False
    gains: tuple = ()

    def name(self, layer, part):
        return (self.module + part).format(layer=layer)


def read(layout, tensors, layer, attention):
    """The Heads of a layer; `tensors` is a safetensors_numpy.TensorFile."""
    def stored(part):
        name = layout.name(layer, part)
        return tensors.numbers(name) if name in tensors else None

    heads = {}
    for slot, (projection, rows) in _places(layout, attention).items():
        bias = stored(projection + ".bias")
        heads[slot] = _turned(layout, stored(projection + ".weight"))[rows]
        heads[slot + "_bias"] = None if bias is None else bias[rows]
    columns = _consecutive(attention.heads, attention.head)
    heads["output"] = _turned(layout, stored(layout.output + ".weight"))[:, columns].transpose(1, 0, 2)
    heads["output_bias"] = stored(layout.output + ".bias")
    for slot, gain in zip(SLOTS, layout.gains):
        heads[slot + "_gain"] = stored(gain + ".weight").reshape(-1, attention.head)
    return Heads(**heads)


def write(layout, tensors, layer, attention, heads, dtype=None):
    """Stores the Heads of a layer, in the dtype the tensors have if none is given."""
    def store(part, values):
        tensors.store(layout.name(layer, part), values, dtype)

    for projection in layout.projections:
        places = {slot: rows for slot, (owner, rows) in _places(layout, attention).items() if owner == projection}
        count = sum(rows.size for rows in places.values())
        weight, bias = np.zeros((count, attention.width)), np.zeros(count)
        for slot, rows in places.items():
            weight[rows] = getattr(heads, slot)
            if getattr(heads, slot + "_bias") is not None:
                bias[rows] = getattr(heads, slot + "_bias")
        store(projection + ".weight", _turned(layout, weight))
        if heads.query_bias is not None:
            store(projection + ".bias", bias)
    output = heads.output.transpose(1, 0, 2).reshape(attention.width, -1)
    store(layout.output + ".weight", _turned(layout, output))
    if heads.output_bias is not None:
        store(layout.output + ".bias", heads.output_bias)
    for slot, gain in zip(SLOTS, layout.gains):
        store(gain + ".weight", getattr(heads, slot + "_gain").ravel())


def blocks(attention):
    """All of query, then key, then value. Rows of the fused matrix: [heads, head] and twice [groups, head]."""
    query = _consecutive(attention.heads, attention.head)
    key = query.size + _consecutive(attention.groups, attention.head)
    return query, key, key + key.size


def per_group(attention):
    """Group by group: its queries, its key, its value. With one reader per group that is head by head."""
    rows = _consecutive(attention.groups * (attention.readers + 2), attention.head)
    rows = rows.reshape(attention.groups, attention.readers + 2, attention.head)
    return rows[:, :-2].reshape(attention.heads, attention.head), rows[:, -2], rows[:, -1]


def _places(layout, attention):
    """Of each slot its projection, and the rows of its heads in it."""
    if layout.packing is not None:
        return {slot: (layout.projections[0], rows) for slot, rows in zip(SLOTS, layout.packing(attention))}
    counts = (attention.heads, attention.groups, attention.groups)
    return {slot: (projection, _consecutive(count, attention.head))
            for slot, projection, count in zip(SLOTS, layout.projections, counts)}


def _consecutive(count, size):
    return np.arange(count * size).reshape(count, size)


def _turned(layout, weight):
    return weight.T if layout.transposed else weight
