"""Changes of the weights of an attention module: those that its group allows, and those mistaken for them.

Every function `move` takes an Attention, its Heads and a random generator, and returns other Heads. What is allowed is
the table of note N5; family_self_test.py sees to it that the outputs stay, or that they do not.
"""

from dataclasses import dataclass, replace
from typing import Callable

import numpy as np

from family_model import edited_copy


@dataclass(frozen=True)
class Element:
    name: str
    applies: Callable  # to an Attention and its Heads
    move: Callable
    exact: bool = True  # or only up to the eps of a norm


def apply(element, source, target, layer=0, seed=0):
    """A copy of the model directory in which one layer is moved."""
    with edited_copy(source, target) as model:
        random = np.random.default_rng(seed)
        model.store(layer, element.move(model.attention(layer), model.heads(layer), random))


def apply_everything(source, target, seed=0):
    """A copy of the model directory in which every layer is moved by all that its group allows exactly."""
    with edited_copy(source, target) as model:
        random = np.random.default_rng(seed)
        for layer in range(model.layers):
            attention, heads = model.attention(layer), model.heads(layer)
            for element in applying(ALLOWED, model, layer):
                heads = element.move(attention, heads, random) if element.exact else heads
            model.store(layer, heads)


def applying(elements, model, layer=0):
    """Those of the elements that make sense for a layer of a FamilyModel."""
    return [element for element in elements if element.applies(model.attention(layer), model.heads(layer))]


# What moves, given what

def change_qk(attention, heads, matrices):
    """Queries of group j go to P q and its keys to P^-T k, with P = matrices[j]."""
    inverse = np.linalg.inv(matrices).transpose(0, 2, 1)
    of_reader = np.repeat(matrices, attention.readers, axis=0)
    return replace(heads, query=of_reader @ heads.query, query_bias=_times(of_reader, heads.query_bias),
                   key=inverse @ heads.key, key_bias=_times(inverse, heads.key_bias))


def change_vo(attention, heads, matrices):
    """Values of group j go to P v and what its readers write is undone by P^-1."""
    inverse = np.repeat(np.linalg.inv(matrices), attention.readers, axis=0)
    return replace(heads, value=matrices @ heads.value, value_bias=_times(matrices, heads.value_bias),
                   output=heads.output @ inverse)


def reorder(attention, heads, groups, readers):
    """Group j of the result is groups[j] of the heads, and reader h is readers[h]."""
    def pick(values, order):
        return values if values is None or len(values) == 1 else values[order]

    return replace(
        heads, query=heads.query[readers], query_bias=pick(heads.query_bias, readers), output=heads.output[readers],
        query_gain=pick(heads.query_gain, readers), key=heads.key[groups], key_bias=pick(heads.key_bias, groups),
        key_gain=pick(heads.key_gain, groups), value=heads.value[groups], value_bias=pick(heads.value_bias, groups))


def _times(matrices, biases):
    return None if biases is None else np.einsum("gij,gj->gi", matrices, biases)


def _identities(attention):
    return np.tile(np.eye(attention.head), (attention.groups, 1, 1))


def _pair(attention, index):
    return [index, index + attention.rotated // 2]


def _by_pair(attention, values, still):
    """[count, pairs] to [count, head], both entries of a pair alike and `still` where nothing turns."""
    rest = np.full((len(values), attention.head - attention.rotated), still)
    return np.concatenate([values, values, rest], axis=1)


# Allowed

def _value_basis(attention, heads, random):
    return change_vo(attention, heads, _well_conditioned(random, attention.groups, attention.head))


def _query_basis(attention, heads, random):
    """A complex number per rotary pair, any matrix on what does not turn."""
    matrices = _identities(attention)
    still = np.arange(attention.rotated, attention.head)
    matrices[:, still[:, None], still] = _well_conditioned(random, attention.groups, len(still))
    for index in range(attention.rotated // 2):
        first, second = _pair(attention, index)
        size, angle = random.uniform(0.5, 2, attention.groups), random.uniform(-np.pi, np.pi, attention.groups)
        matrices[:, first, first] = matrices[:, second, second] = size * np.cos(angle)
        matrices[:, second, first] = size * np.sin(angle)
        matrices[:, first, second] = -matrices[:, second, first]
    return change_qk(attention, heads, matrices)


def _well_conditioned(random, count, size):
    """Matrices with singular values between 1/2 and 2: [count, size, size]."""
    left, right = (np.linalg.qr(random.standard_normal((count, size, size)))[0] for _ in range(2))
    return left * random.uniform(0.5, 2, (count, 1, size)) @ right


def _order(attention, heads, random):
    groups = random.permutation(attention.groups)
    readers = [group * attention.readers + random.permutation(attention.readers) for group in groups]
    return reorder(attention, heads, groups, np.concatenate(readers))


def _key_bias(attention, heads, random):
    """Where keys do not turn, a shift of their bias adds the same to every score of a query."""
    shift = random.standard_normal(heads.key_bias.shape)
    shift[:, :attention.rotated] = 0
    return replace(heads, key_bias=heads.key_bias + shift)


def _value_bias(attention, heads, random):
    moved = np.repeat(heads.value_bias, attention.readers, axis=0)
    return replace(heads, value_bias=np.zeros_like(heads.value_bias),
                   output_bias=heads.output_bias + np.einsum("hde,he->d", heads.output, moved))


def _half_turns(attention, heads, random):
    """Both entries of a pair change sign, in a group's queries and keys."""
    signs = _by_pair(attention, random.choice([-1.0, 1.0], (attention.groups, attention.rotated // 2)), 1.0)
    return change_qk(attention, heads, _identities(attention) * signs[:, None, :])


def _quarter_turns(attention, heads, random):
    """Pairs turn by 90 degrees and their gains change places; gains that heads share make them turn together."""
    count = len(heads.key_gain)
    chosen = random.integers(0, 2, (count, attention.rotated // 2)).astype(bool)
    chosen[:, 0] = True
    turned = change_qk(attention, heads, _quarter_turn_matrices(attention, chosen))
    place, half = np.arange(attention.head), attention.rotated // 2
    swapped = np.where(_by_pair(attention, chosen, False), (place + half) % attention.rotated, place)
    of_queries = np.repeat(swapped, len(heads.query_gain) // count, axis=0)
    return replace(turned, query_gain=np.take_along_axis(heads.query_gain, of_queries, axis=1),
                   key_gain=np.take_along_axis(heads.key_gain, swapped, axis=1))


def _quarter_turn_matrices(attention, chosen):
    matrices = _identities(attention)
    for group in range(attention.groups):
        for index in np.flatnonzero(chosen[group % len(chosen)]):
            first, second = _pair(attention, index)
            matrices[group][np.ix_([first, second], [first, second])] = [[0, -1], [1, 0]]
    return matrices


def _traded_gains(attention, heads, random):
    """What the gains of a pair of queries win, those of the keys lose."""
    factors = np.exp(random.uniform(-0.5, 0.5, (len(heads.key_gain), attention.rotated // 2)))
    return _trade(attention, heads, _by_pair(attention, factors, 1.0))


def _trade(attention, heads, factors):
    offset = attention.norm.offset
    of_queries = np.repeat(factors, len(heads.query_gain) // len(heads.key_gain), axis=0)
    return replace(heads, query_gain=(offset + heads.query_gain) * of_queries - offset,
                   key_gain=(offset + heads.key_gain) / factors - offset)


def _scales(attention, heads, random):
    """What is normalised together may be scaled together."""
    def factors(count):
        return np.exp(random.uniform(-0.5, 0.5, 1 if attention.norm.over_all_heads else count))

    return _scaled(heads, factors(attention.heads), factors(attention.groups))


def _scaled(heads, of_queries, of_keys):
    def times(values, factors):
        return None if values is None else values * factors.reshape(-1, *[1] * (values.ndim - 1))

    return replace(heads, query=times(heads.query, of_queries), query_bias=times(heads.query_bias, of_queries),
                   key=times(heads.key, of_keys), key_bias=times(heads.key_bias, of_keys))


# Mistaken for allowed

def _in_pair(block, first=0):
    """`block` [2, 2] on a rotary pair of the first group."""
    def move(attention, heads, random):
        matrices, pair = _identities(attention), _pair(attention, first)
        matrices[0][np.ix_(pair, pair)] = block
        return change_qk(attention, heads, matrices)

    return move


def _permuted(order_of):
    """The entries of every head in the order that order_of(attention) gives."""
    def move(attention, heads, random):
        return change_qk(attention, heads, _identities(attention)[:, order_of(attention)])

    return move


def _pairs_swapped(attention):
    order = np.arange(attention.head)
    first, second = _pair(attention, 0), _pair(attention, 1)
    order[first + second] = second + first
    return order


def _interleaved(attention):
    halves = np.arange(attention.rotated).reshape(2, -1)
    return np.concatenate([halves.T.ravel(), np.arange(attention.rotated, attention.head)])


def _still_swapped(attention):
    order = np.arange(attention.head)
    order[[0, -1]] = order[[-1, 0]]
    return order


def _across_groups(attention, heads, random):
    readers = np.arange(attention.heads)
    readers[[0, attention.readers]] = readers[[attention.readers, 0]]
    return reorder(attention, heads, np.arange(attention.groups), readers)


def _dealt(attention, heads, random):
    """As if reader h used group h mod groups."""
    readers = np.arange(attention.heads).reshape(attention.readers, attention.groups).T.ravel()
    return reorder(attention, heads, np.arange(attention.groups), readers)


def _heads_swapped(attention, heads, random):
    order = np.arange(attention.heads)
    order[:2] = [1, 0]
    return reorder(attention, heads, order, order)


def _rotated_key_bias(attention, heads, random):
    shift = random.standard_normal(heads.key_bias.shape)
    shift[:, attention.rotated:] = 0
    return replace(heads, key_bias=heads.key_bias + shift)


def _bare_quarter_turn(attention, heads, random):
    chosen = np.zeros((1, attention.rotated // 2), dtype=bool)
    chosen[0, 0] = True
    return change_qk(attention, heads, _quarter_turn_matrices(attention, chosen))


def _one_gain_traded(attention, heads, random):
    factors = np.ones_like(heads.key_gain)
    factors[0, 0] = 1.5
    return _trade(attention, heads, factors)


def _one_query_scaled(attention, heads, random):
    return _scaled(heads, np.where(np.arange(attention.heads) == 0, 1.5, 1.0), np.ones(attention.groups))


def _query_negated(attention, heads, random):
    return _scaled(heads, np.where(np.arange(attention.heads) == 0, -1.0, 1.0), np.ones(attention.groups))


def _query_key_exchanged(attention, heads, random):
    return replace(heads, query=heads.key, query_bias=heads.key_bias, key=heads.query, key_bias=heads.query_bias)


def _key_value_exchanged(attention, heads, random):
    return replace(heads, key=heads.value, key_bias=heads.value_bias, value=heads.key, value_bias=heads.key_bias)


def _value_bias_lost(attention, heads, random):
    return replace(heads, value_bias=np.zeros_like(heads.value_bias))


# When

def _always(attention, heads):
    return True


def _rotary(attention, heads):
    return attention.rotated > 0


def _normed_rotary(attention, heads):
    return attention.norm is not None and _rotary(attention, heads)


def _several_pairs(attention, heads):
    return attention.rotated >= 4


def _key_bias_free(attention, heads):
    return (heads.key_bias is not None and attention.rotated < attention.head and attention.softcap is None
            and attention.norm is None)


ALLOWED = [
    Element("another basis of the values", _always, _value_basis),
    Element("another basis of queries and keys", lambda attention, heads: attention.norm is None, _query_basis),
    Element("another order of groups and readers", lambda attention, heads: attention.slopes is None, _order),
    Element("a shift of the key bias", _key_bias_free, _key_bias),
    Element("the value bias moved into the output bias",
            lambda attention, heads: heads.value_bias is not None and heads.output_bias is not None, _value_bias),
    Element("half turns of rotary pairs", _rotary, _half_turns),
    Element("quarter turns of rotary pairs with their gains", _normed_rotary, _quarter_turns),
    Element("gains traded between queries and keys", _normed_rotary, _traded_gains),
    Element("scales of normalised queries and keys", _normed_rotary, _scales, exact=False),
]
WRONG = [
    Element("a general matrix in a rotary pair", _rotary, _in_pair([[1.0, 0.7], [0.2, 1.3]])),
    Element("a real scale of one entry of a rotary pair", _rotary, _in_pair(np.diag([2.0, 1.0]))),
    Element("a reflection in a rotary pair", _rotary, _in_pair(np.diag([1.0, -1.0]))),
    Element("two rotary pairs swapped", _several_pairs, _permuted(_pairs_swapped)),
    Element("interleaved for half-split rotary pairs", _several_pairs, _permuted(_interleaved)),
    Element("a turning entry swapped with one that does not",
            lambda attention, heads: 0 < attention.rotated < attention.head, _permuted(_still_swapped)),
    Element("readers swapped across groups", lambda attention, heads: attention.groups > 1, _across_groups),
    Element("readers dealt to the groups in turn",
            lambda attention, heads: 1 < attention.groups < attention.heads, _dealt),
    Element("heads with different slopes swapped", lambda attention, heads: attention.slopes is not None,
            _heads_swapped),
    Element("a shift of the key bias where keys turn",
            lambda attention, heads: heads.key_bias is not None and attention.rotated > 0, _rotated_key_bias),
    Element("a quarter turn without its gains", _normed_rotary, _bare_quarter_turn),
    Element("one gain traded without its partner", _normed_rotary, _one_gain_traded),
    Element("one query head scaled",
            lambda attention, heads: attention.norm is None or attention.norm.over_all_heads, _one_query_scaled),
    Element("one query head negated", _always, _query_negated),
    Element("query and key exchanged", lambda attention, heads: attention.groups == attention.heads,
            _query_key_exchanged),
    Element("key and value exchanged", _always, _key_value_exchanged),
    Element("the value bias lost", lambda attention, heads: heads.value_bias is not None, _value_bias_lost),
]
