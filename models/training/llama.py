"""A Llama with hand-written derivatives, for training on one core.

Every function returns its value and a function `back` that turns the derivative of the loss by the value into the
derivatives by its arguments. Weights have the names and shapes [out, in] of Hugging Face files.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """Sizes; a head has width hidden / heads, and reader h uses group h // (heads / groups)."""

    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    groups: int
    positions: int
    rope_base: float = 10000.0
    eps: float = 1e-5

    @property
    def head(self):
        return self.hidden // self.heads


def initial_weights(shape, random, dtype=np.float32):
    """Normal with variance 1 / in; what writes into the stream is scaled down by the number of writers."""
    def normal(rows, columns, scale=1.0):
        return (scale * random.standard_normal((rows, columns)) / columns**0.5).astype(dtype)

    kv, writers = shape.groups * shape.head, (2 * shape.layers) ** -0.5
    weights = {"model.embed_tokens.weight": normal(shape.vocabulary, shape.hidden),
               "model.norm.weight": np.ones(shape.hidden, dtype)}
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}{norm}.weight"] = np.ones(shape.hidden, dtype)
        weights[prefix + "self_attn.q_proj.weight"] = normal(shape.hidden, shape.hidden)
        weights[prefix + "self_attn.k_proj.weight"] = normal(kv, shape.hidden)
        weights[prefix + "self_attn.v_proj.weight"] = normal(kv, shape.hidden)
        weights[prefix + "self_attn.o_proj.weight"] = normal(shape.hidden, shape.hidden, writers)
        weights[prefix + "mlp.gate_proj.weight"] = normal(shape.inner, shape.hidden)
        weights[prefix + "mlp.up_proj.weight"] = normal(shape.inner, shape.hidden)
        weights[prefix + "mlp.down_proj.weight"] = normal(shape.hidden, shape.inner, writers)
    return weights


def loss_and_gradients(weights, shape, tokens):
    """tokens [batch, n + 1]: the mean cross-entropy of the last n in nats, and its derivative by every weight."""
    embedding = weights["model.embed_tokens.weight"]
    x = embedding[tokens[:, :-1]]
    backs = []
    for layer in range(shape.layers):
        x, back = _block(weights, shape, f"model.layers.{layer}.", x)
        backs.append(back)
    x, norm_back = _rms_norm(x, weights["model.norm.weight"], shape.eps)
    logits, head_back = _linear(x, embedding)  # the head is tied to the embedding
    loss, dlogits = _cross_entropy(logits, tokens[:, 1:])

    gradients = {}
    dx, gradients["model.embed_tokens.weight"] = head_back(dlogits)
    dx, gradients["model.norm.weight"] = norm_back(dx)
    for back in reversed(backs):
        dx = back(dx, gradients)
    np.add.at(gradients["model.embed_tokens.weight"], tokens[:, :-1], dx)
    return loss, gradients


def _block(weights, shape, prefix, x):
    """One layer: x + attention(norm x), and of that y + mlp(norm y)."""
    names = {part: f"{prefix}{part}.weight" for part in (
        "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
    norm1, q, k, v, o, norm2, gate, up, down = (weights[name] for name in names.values())

    u, norm1_back = _rms_norm(x, norm1, shape.eps)
    (queries, q_back), (keys, k_back), (values, v_back) = (_linear(u, matrix) for matrix in (q, k, v))
    mixed, attention_back = _attention(queries, keys, values, shape)
    written, o_back = _linear(mixed, o)
    y = x + written
    w, norm2_back = _rms_norm(y, norm2, shape.eps)
    (gates, gate_back), (ups, up_back) = _linear(w, gate), _linear(w, up)
    inner, swiglu_back = _swiglu(gates, ups)
    added, down_back = _linear(inner, down)

    def back(dz, gradients):
        dinner, ddown = down_back(dz)
        dgates, dups = swiglu_back(dinner)
        (dw_gate, dgate), (dw_up, dup) = gate_back(dgates), up_back(dups)
        dy, dnorm2 = norm2_back(dw_gate + dw_up)
        dy += dz
        dmixed, do = o_back(dy)
        dqueries, dkeys, dvalues = attention_back(dmixed)
        (du_q, dq), (du_k, dk), (du_v, dv) = q_back(dqueries), k_back(dkeys), v_back(dvalues)
        dx, dnorm1 = norm1_back(du_q + du_k + du_v)
        gradients.update(zip(names.values(), (dnorm1, dq, dk, dv, do, dnorm2, dgate, dup, ddown)))
        return dx + dy

    return y + added, back


def _linear(x, weight):
    def back(dy):
        rows = dy.reshape(-1, dy.shape[-1])
        return dy @ weight, rows.T @ x.reshape(-1, x.shape[-1])

    return x @ weight.T, back


def _rms_norm(x, gain, eps):
    scale = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    unit = x * scale

    def back(dy):
        dunit = dy * gain
        dx = scale * (dunit - unit * (dunit * unit).mean(axis=-1, keepdims=True))
        return dx, (dy * unit).reshape(-1, len(gain)).sum(axis=0)

    return unit * gain, back


def _swiglu(gates, ups):
    sigmoid = 1 / (1 + np.exp(-gates))
    silu = gates * sigmoid

    def back(dy):
        return dy * ups * (sigmoid + silu * (1 - sigmoid)), dy * silu

    return silu * ups, back


def _attention(queries, keys, values, shape):
    """Causal, rotary, grouped. Queries and result are [batch, n, heads * head], the rest [batch, n, groups * head]."""
    batch, n, _ = queries.shape
    readers = shape.heads // shape.groups
    frequencies = shape.rope_base ** (-np.arange(0, shape.head, 2) / shape.head)
    angles = np.outer(np.arange(n), frequencies).astype(queries.dtype)

    def split(x, per_group):  # to [batch, groups, per_group * n, head]
        x = x.reshape(batch, n, shape.groups, per_group, shape.head)
        return x.transpose(0, 2, 3, 1, 4).reshape(batch, shape.groups, per_group * n, shape.head)

    def join(x, per_group):
        x = x.reshape(batch, shape.groups, per_group, n, shape.head)
        return x.transpose(0, 3, 1, 2, 4).reshape(batch, n, -1)

    q = _rotate(split(queries, readers), np.tile(angles, (readers, 1)))
    k, v = _rotate(split(keys, 1), angles), split(values, 1)
    scale = queries.dtype.type(shape.head**-0.5)
    logits = q @ k.swapaxes(2, 3) * scale + np.tile(_causal(n, queries.dtype), (readers, 1))
    weights = _softmax(logits)

    def back(dmixed):
        dy = split(dmixed, readers)
        dweights = dy @ v.swapaxes(2, 3)
        dlogits = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True)) * scale
        dq = _rotate(dlogits @ k, -np.tile(angles, (readers, 1)))
        dk = _rotate(dlogits.swapaxes(2, 3) @ q, -angles)
        return join(dq, readers), join(dk, 1), join(weights.swapaxes(2, 3) @ dy, 1)

    return join(weights @ v, readers), back


def _rotate(x, angles):
    """Half-split pairs: entries i and i + head / 2 turn by angles[:, i]."""
    first, second = np.split(x, 2, axis=-1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _causal(n, dtype):
    return np.triu(np.full((n, n), -np.inf, dtype), 1)


def _softmax(logits):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _cross_entropy(logits, targets):
    probabilities = _softmax(logits)
    chosen = targets[..., None]
    loss = -np.log(np.take_along_axis(probabilities, chosen, axis=-1)).mean()
    np.put_along_axis(probabilities, chosen, np.take_along_axis(probabilities, chosen, axis=-1) - 1, axis=-1)
    return float(loss), probabilities / targets.size
