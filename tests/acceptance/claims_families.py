"""Claims about every family of models, on small checkpoints with random weights, judged by family_model in NumPy."""

from functools import partial

import numpy as np

import families
import family_elements
import family_fixtures
import family_model
import family_rewrites
from command import read_witness
from report import Claim, require

SAME = ("identical", "equivalent")
OUTPUT = 1e-5             # relative, of outputs after weights were rounded to F32
MOVED = 0.01              # relative, of weights: less is not worth the name
FORM, AGAIN = 1e-4, 1e-5  # relative, per projection: from another basis, and on doing it twice
GAP_OVER_NOISE = 10
REPLAY = 1e-6             # relative, of the outputs and the gap of a witness
TOKENS = 9


def claims():
    return [Claim(f"{name}: {what}", partial(show, name))
            for name, config in family_fixtures.FIXTURES.items() for what, show in _shown_of(config).items()]


def _shown_of(config):
    """What can be claimed of a model with this config."""
    attention = [families.find(config).attention(config, layer) for layer in range(family_fixtures.LAYERS)]
    shown = {
        "act on all that its group allows": _acted,
        "moves of its group, made in NumPy": _allowed,
        "moves mistaken for those of its group": _mistaken,
        "canonical form": _canonical,
    }
    if attention[0].readers > 1 and "num_key_value_heads" in config.get("text_config", config):
        shown["groups written out"] = _written_out
    if attention[0].rotated:
        shown["another rotary base"] = _reconfigured(family_rewrites.change_rotary_base)
    if attention[0].softcap:
        shown["another softcap"] = _reconfigured(family_rewrites.change_softcap)
    if any(layer.window for layer in attention):
        shown["a shorter window"] = _reconfigured(family_rewrites.change_window)
    return shown


def _acted(name, bench):
    fixture, acted = _fixture(bench, name), bench.scratch("acted")
    bench.attnsym.act(fixture, acted, "--condition", 10, "--seed", 7)
    moved = min(_weight_changes(fixture, acted))
    figures = f"{_same(bench, fixture, acted, 'act')}, every projection moved by {moved:.2g} or more"
    require(moved >= MOVED, figures)
    return figures


def _allowed(name, bench):
    fixture, figures = _fixture(bench, name), []
    for layer, element in _applying(fixture, family_elements.ALLOWED):
        if element.exact:  # the others are only as good as eps is small
            moved = bench.scratch(f"moved-{len(figures)}")
            family_elements.apply(element, fixture, moved, layer)
            figures.append(_same(bench, fixture, moved, f"layer {layer}, {element.name}"))
    return f"{len(figures)} moves, {figures[-1]}"


def _mistaken(name, bench):
    fixture, gaps = _fixture(bench, name), []
    for layer, element in _applying(fixture, family_elements.WRONG):
        moved = bench.scratch(f"moved-{len(gaps)}")
        family_elements.apply(element, fixture, moved, layer)
        gaps.append(_distinct(bench, fixture, moved, f"layer {layer}, {element.name}", layer))
    return f"{len(gaps)} moves distinct, gaps {min(gaps):.2g} to {max(gaps):.2g} times their noise"


def _canonical(name, bench):
    """One form for all bases, the same when made twice, the same function, and files that fit the same config."""
    fixture, moved = _fixture(bench, name), bench.scratch("moved")
    family_elements.apply_everything(fixture, moved)
    form, of_moved, twice = (bench.scratch(f"canonical-{kind}") for kind in ("", "of-moved", "twice"))
    for source, target in ((fixture, form), (moved, of_moved), (form, twice)):
        bench.attnsym.canonicalize(source, target)
    _require_same_shape(fixture, form)
    apart, again = max(_weight_changes(form, of_moved)), max(_weight_changes(form, twice))
    figures = f"{_same(bench, fixture, form, 'canonicalize')}, other basis {apart:.1e}, twice {again:.1e}"
    require(apart <= FORM and again <= AGAIN, figures)
    return figures


def _written_out(name, bench):
    fixture, written = _fixture(bench, name), bench.scratch("written")
    family_rewrites.write_out_groups(fixture, written)
    return _same(bench, fixture, written, "written out")


def _reconfigured(change):
    def show(name, bench):
        fixture, changed = _fixture(bench, name), bench.scratch("changed")
        change(fixture, changed)
        gap = _distinct(bench, fixture, changed, change.__name__)
        return f"distinct, gap {gap:.3g} times its noise"
    return show


def _fixture(bench, name):
    directory = bench.folder / f"fixture-{name}"
    if not directory.exists():
        family_fixtures.make(name, directory)
    return directory


def _applying(fixture, elements):
    """Layers and the elements that make sense for them."""
    model = family_model.load(fixture)
    return [(layer, element) for layer in range(model.layers)
            for element in family_elements.applying(elements, model, layer)]


def _same(bench, a, b, what):
    """The figures, once the command has said that a and b compute the same and NumPy has agreed."""
    answer = bench.attnsym.check(a, b)
    off = max(np.linalg.norm(x - y) / np.linalg.norm(x) for x, y in zip(_outputs(a), _outputs(b)))
    figures = f"{answer['verdict']}, outputs within {off:.1e}"
    require(answer["verdict"] in SAME, f"{what}: {figures}: {answer['reason']}")
    require(off <= OUTPUT, f"{what}: {figures}")
    return figures


def _outputs(directory):
    model, random = family_model.load(directory), np.random.default_rng(11)
    x = random.standard_normal((TOKENS, model.attention(0).width))
    return [model.attend(layer, x) for layer in range(model.layers)]


def _distinct(bench, a, b, what, layer=None):
    """The gap over its noise, once NumPy has found the outputs that the witness claims; `layer` if only one differs."""
    witness_file = bench.scratch("witness")
    witness_file.unlink(missing_ok=True)
    answer = bench.attnsym.check(a, b, witness=witness_file)
    require(answer["verdict"] == "distinct", f"{what}: {answer['verdict']}: {answer['reason']}")
    witness = read_witness(witness_file)
    require(layer in (None, witness.layer), f"{what}: the witness is for layer {witness.layer}")
    ours = [family_model.load(model).attend(witness.layer, witness.input) for model in (a, b)]
    for found, claimed in zip(ours, (witness.output_a, witness.output_b)):
        off = np.linalg.norm(found - claimed)
        require(off <= REPLAY * np.linalg.norm(found), f"{what}: outputs in the witness are off by {off:.1e}")
    gap = np.linalg.norm(ours[0] - ours[1])
    require(abs(gap / witness.gap - 1) <= REPLAY, f"{what}: gap {gap:.6g}, the witness says {witness.gap:.6g}")
    require(gap >= GAP_OVER_NOISE * witness.noise, f"{what}: gap {gap:.3g}, noise {witness.noise:.3g}")
    return gap / witness.noise


def _weight_changes(a, b):
    """Relative, per layer and projection, all heads together."""
    models, changes = [family_model.load(directory) for directory in (a, b)], []
    for layer in range(models[0].layers):
        old, new = (vars(model.heads(layer)) for model in models)
        changes += [np.linalg.norm(new[part] - old[part]) / np.linalg.norm(old[part])
                    for part in ("query", "key", "value", "output")]
    return changes


def _require_same_shape(a, b):
    models = [family_model.load(directory) for directory in (a, b)]
    configs = [(directory / "config.json").read_text() for directory in (a, b)]
    require(configs[0] == configs[1], "another config.json")
    kinds = [{name: (stored.shape, model.tensors.dtypes[name]) for name, stored in model.tensors.stored.items()}
             for model in models]
    require(kinds[0] == kinds[1], "other tensors")
