"""Weights of reference models, the same on every machine: a tensor's numbers follow from its name and shape.

Nothing is zero or one on purpose: every gain, bias and table is random, so that whatever a model does not read shows.
"""

import hashlib
import math

import numpy as np

NORMS = ("norm", "ln_", "ln_f", "layernorm", "layer_norm")


def draw(name, shape, seed=0):
    """Float64 numbers for a tensor."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))
    numbers = math.sqrt(12) * (random.random(tuple(shape)) - 0.5)  # variance 1; the stream of `random` is a promise
    return numbers * _size(name, shape) + _middle(name, shape)


def _is_gain(name, shape):
    """Of norms. The gains of Gemma are stored less one; theirs are drawn around 1 all the same."""
    return len(shape) == 1 and name.endswith("weight") and any(part in name.lower() for part in NORMS)


def _size(name, shape):
    if _is_gain(name, shape) or name.endswith("bias"):
        return 0.3
    return 1.3 / math.sqrt(shape[-1]) if len(shape) == 2 and "embed" not in name else 0.7


def _middle(name, shape):
    return 1.0 if _is_gain(name, shape) else 0.0


def moved(numbers, name, share, seed=1):
    """The same numbers, all of them moved by this share of their size at random."""
    change = draw(name, numbers.shape, seed)
    return numbers + share * change * np.linalg.norm(numbers) / max(np.linalg.norm(change), 1e-300)
