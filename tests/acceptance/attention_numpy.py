"""Attention in float64, with everything that the families put into it: the judge of what a module computes."""

from dataclasses import dataclass

import numpy as np

import rotary_numpy


@dataclass(frozen=True)
class QkNorm:
    """RMSNorm of queries and keys before they turn: x / sqrt(mean x^2 + eps) * (offset + gain)."""

    eps: float
    offset: float = 0.0
    over_all_heads: bool = False  # one mean for all heads together, and a gain for each of their entries


@dataclass(frozen=True)
class Attention:
    """What a layer's attention computes, apart from its weights. Reader h uses group h // (heads / groups)."""

    width: int
    heads: int
    groups: int
    head: int
    scale: float
    causal: bool = True
    window: int | None = None      # a token sees itself and the window - 1 tokens before it
    softcap: float | None = None
    frequencies: np.ndarray | None = None  # radians per position, [pairs]
    rotary_gain: float = 1.0               # on cosine and sine
    slopes: np.ndarray | None = None       # [heads], times the key's position
    norm: QkNorm | None = None

    @property
    def readers(self):
        """Per group."""
        return self.heads // self.groups

    @property
    def rotated(self):
        """How many entries of a head turn; pair i is entries i and i + rotated / 2."""
        return 0 if self.frequencies is None else 2 * len(self.frequencies)


@dataclass
class Heads:
    """The weights of a layer's attention by head; absent biases and gains are None."""

    query: np.ndarray   # [heads, head, width]
    key: np.ndarray     # [groups, head, width]
    value: np.ndarray   # [groups, head, width]
    output: np.ndarray  # [heads, width, head]
    query_bias: np.ndarray | None = None   # [heads, head]
    key_bias: np.ndarray | None = None     # [groups, head]
    value_bias: np.ndarray | None = None   # [groups, head]
    output_bias: np.ndarray | None = None  # [width]
    query_gain: np.ndarray | None = None   # [heads, head], or [1, head] where all heads share it
    key_gain: np.ndarray | None = None     # [groups, head] or [1, head]


def output(attention, heads, x):
    """Tokens x [n, width] at positions 0 to n - 1: what the module adds to the stream, [n, width]."""
    q = _positioned(attention, heads.query_gain, _project(x, heads.query, heads.query_bias))
    k = _positioned(attention, heads.key_gain, _project(x, heads.key, heads.key_bias))
    v = _project(x, heads.value, heads.value_bias)
    weights = _softmax(_scores(attention, q, np.repeat(k, attention.readers, axis=0)))
    mixed = weights @ np.repeat(v, attention.readers, axis=0)
    written = np.einsum("hne,hde->nd", mixed, heads.output)
    return written if heads.output_bias is None else written + heads.output_bias


def _project(x, weight, bias):
    """[heads, n, head]"""
    projected = np.einsum("nd,hed->hne", x, weight)
    return projected if bias is None else projected + bias[:, None, :]


def _positioned(attention, gain, x):
    """Queries or keys, normalised and turned."""
    if attention.norm is not None:
        x = _normalise(attention.norm, gain, x)
    if attention.frequencies is not None:
        turned = rotary_numpy.rotate(x, np.outer(np.arange(x.shape[1]), attention.frequencies))
        x = np.concatenate([attention.rotary_gain * turned[..., :attention.rotated],
                            turned[..., attention.rotated:]], axis=-1)
    return x


def _normalise(norm, gain, x):
    squares = (x**2).mean(axis=(0, 2) if norm.over_all_heads else 2, keepdims=True)
    return x / np.sqrt(squares + norm.eps) * (norm.offset + gain[:, None, :])


def _scores(attention, q, k):
    """[heads, n, n]: row m holds what token m thinks of the others."""
    scores = attention.scale * q @ k.swapaxes(1, 2)
    position = np.arange(q.shape[1])
    if attention.slopes is not None:
        scores = scores + attention.slopes[:, None, None] * position
    if attention.softcap is not None:
        scores = attention.softcap * np.tanh(scores / attention.softcap)
    behind = position[:, None] - position
    hidden = np.zeros_like(behind, dtype=bool)
    if attention.causal:
        hidden |= behind < 0
    if attention.window is not None:
        hidden |= behind >= attention.window
    return np.where(hidden, -np.inf, scores)


def _softmax(logits):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)
