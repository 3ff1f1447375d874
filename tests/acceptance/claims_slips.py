"""Claims about check --explain: slips of conversions made in NumPy on small models of four families, and named."""

from dataclasses import replace
from functools import partial

import numpy as np

import family_elements
import family_fixtures
import family_layout
import family_model
import family_rewrites
from report import Claim, require

FIXTURES = ("llama", "gpt_neox", "falcon-grouped", "gpt2")
OTHER_ORDER = {family_layout.blocks: family_layout.per_group, family_layout.per_group: family_layout.blocks}


def claims():
    named = [Claim(f"{name}: slips are named", partial(_named, name)) for name in FIXTURES]
    paired = [Claim(f"{name}: pairs of slips are named", partial(_paired, name)) for name in FIXTURES]
    return named + paired + [
        Claim("no slip is named on equal models", _equal),
        Claim("no slip is named on unrelated models", _unrelated),
        Claim("a merged adapter is seen to be of low rank, and where", _adapter),
    ]


# Slips: words of their names, whether they can be made, and how to make them in an open model

def _moved(name):
    """A change that family_elements mistakes for a symmetry."""
    element = next(one for one in family_elements.WRONG if one.name == name)

    def edit(model):
        for layer in range(model.layers):
            model.store(layer, element.move(model.attention(layer), model.heads(layer), None))

    def applies(model):
        return bool(family_elements.applying([element], model))

    return applies, edit


def _is_packed(model):
    attention = model.attention(0)
    return model.family.layout.packing is not None and attention.groups > 1


def _fuse_otherwise(model):
    """The rows of the fused tensor in the other of the two orders."""
    layout = model.family.layout
    other = replace(layout, packing=OTHER_ORDER[layout.packing])
    for layer in range(model.layers):
        family_layout.write(other, model.tensors, layer, model.attention(layer), model.heads(layer))


def _transpose_output(model):
    layout = model.family.layout
    for layer in range(model.layers):
        name = layout.name(layer, layout.output + ".weight")
        model.tensors.store(name, model.tensors.numbers(name).T)


def _is_square(model):
    attention = model.attention(0)
    return attention.heads * attention.head == attention.width


def _rotary_base(model):
    family_rewrites.scale_everywhere(model.config, ("rope_theta", "rotary_emb_base"), 3.0)


def _is_rotary(model):
    return model.attention(0).rotated >= 4


SLIPS = {
    "rotary pairs are interleaved where half-split": _moved("interleaved for half-split rotary pairs"),
    "queries and keys are exchanged": _moved("query and key exchanged"),
    "keys and values are exchanged": _moved("key and value exchanged"),
    "key/value group i mod g": _moved("readers dealt to the groups in turn"),
    "the fused tensor is in the order": (_is_packed, _fuse_otherwise),
    "stored transposed": (_is_square, _transpose_output),
    "another rotary base": (_is_rotary, _rotary_base),
}
# One cycle of three projections, which other exchanges make as well.
SAME_KIND = {"queries and keys are exchanged", "keys and values are exchanged", "the fused tensor is in the order"}


def _possible(model):
    return [words for words, (applies, _) in SLIPS.items() if applies(model)]


def _fixture(bench, name, seed=1):
    directory = bench.folder / f"slips-{name}-{seed}"
    if not directory.exists():
        family_fixtures.make(name, directory, seed=seed)
    return directory


def _explained(bench, fixture, wanted):
    """The texts that check --explain gives for a copy with these slips."""
    wanted = sorted(wanted, key=list(SLIPS).index)  # as conversions make them: how a tensor is stored comes last
    slipped = bench.scratch("slipped-" + "-".join(str(list(SLIPS).index(words)) for words in wanted))
    with family_model.edited_copy(fixture, slipped) as model:
        for words in wanted:
            SLIPS[words][1](model)
    explained = bench.attnsym.explanation(fixture, slipped)
    layers = family_model.load(fixture).layers
    require(len(explained) == layers, f"{wanted}: {len(explained)} of {layers} layers are explained")
    return [[slip["text"] for slip in layer["slips"]] for layer in explained]


def _named(name, bench):
    fixture = _fixture(bench, name)
    possible = _possible(family_model.load(fixture))
    for words in possible:
        for texts in _explained(bench, fixture, [words]):
            require(len(texts) == 1 and words in texts[0], f"{words}: {texts}")
    return f"{len(possible)} slips"


def _paired(name, bench):
    fixture = _fixture(bench, name)
    possible = _possible(family_model.load(fixture))
    pairs = [(one, other) for i, one in enumerate(possible) for other in possible[:i]
             if not (one in SAME_KIND and other in SAME_KIND)]
    for pair in pairs:
        for texts in _explained(bench, fixture, pair):
            named = all(any(words in text for text in texts) for words in pair)
            require(len(texts) == 2 and named, f"{pair}: {texts}")
    return f"{len(pairs)} pairs"


def _equal(bench):
    fixture, acted = _fixture(bench, "llama"), bench.scratch("acted")
    bench.attnsym.act(fixture, acted, "--condition", 10, "--seed", 7)
    require(bench.attnsym.explanation(fixture, acted) == [], "something is explained")
    return "nothing to explain"


def _unrelated(bench):
    for name in FIXTURES:
        explained = bench.attnsym.explanation(_fixture(bench, name), _fixture(bench, name, seed=2))
        require(explained and all(layer["slips"] == [] for layer in explained), f"{name}: {explained}")
        kinds = {one["kind"] for layer in explained for one in layer["differences"]}
        require(kinds == {"other weights, or another basis"}, f"{name}: {kinds}")
    return f"{len(FIXTURES)} families"


def _adapter(bench):
    fixture, merged = _fixture(bench, "llama"), bench.scratch("merged")
    random, target = np.random.default_rng(3), "model.layers.1.self_attn.q_proj.weight"
    with family_model.edited_copy(fixture, merged) as model:
        weight = model.tensors.numbers(target)
        out, into = weight.shape
        adapter = random.standard_normal((out, 2)) @ random.standard_normal((2, into))
        model.tensors.store(target, weight + 0.1 * np.linalg.norm(weight) / np.linalg.norm(adapter) * adapter)
    explained = bench.attnsym.explanation(fixture, merged)
    require([layer["layer"] for layer in explained] == [1], f"layers {explained}")
    worst = explained[0]["differences"][0]
    require(worst["tensor"] == target and "rank 2" in worst["kind"], f"{worst}")
    return f"{worst['kind']}, relative size {worst['relative']:.2g}"
