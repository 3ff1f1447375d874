"""The recorded outcomes: one line of JSON per model, from which its files are made again with NumPy alone.

A line holds the name and class of a model, its config.json, the shapes of its tensors ({layer} stands for every layer),
and what the reference library said of pairs A, B in which A is the model and B
  - has another config.json: "flips", in the order of flips.changes(config), and "pairs" of two such changes,
  - has one tensor moved: "edits", in the order of the tensors,
  - has one tensor more, which no class of the family is known to read: "strays", by name.
An outcome is "refused" (by the library), "incomplete" (a tensor that is read is missing), 0 (all outputs equal), or how
far apart [attention, hidden states, outputs] are. Where B's class wants other tensors there are two outcomes: of A's
tensors as they are, and of those that the class wants. `cases` says "incomplete outside" where attention is complete.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import flips
import weights

sys.path.append(str(Path(__file__).resolve().parents[1] / "acceptance"))
import safetensors_numpy  # noqa: E402

PATH = Path(__file__).with_name("outcomes.jsonl")
EDITS = (1e-2, 1e-6)  # shares by which a tensor is moved; of classes that are no base only the first
LAYERS = 2
ATTENTION = re.compile(r"(self_attn|self_attention|[.]attn|attention[.](self|attention|dense|query_key_value))[.]")


@dataclass
class Model:
    name: str
    architecture: str
    config: dict
    tensors: dict  # shapes by name
    flips: list
    pairs: list
    edits: list
    strays: dict  # shape and outcome by name


def read(path=PATH):
    with open(path) as lines:
        return [_model(json.loads(line)) for line in lines]


def _model(line):
    return Model(line["name"], line["class"], line["config"], unfolded(line["tensors"]), line.get("flips", []),
                 line.get("pairs", []), line.get("edits", []), line.get("strays", {}))


def folded(tensors):
    """What all layers have is named once, with {layer} for their number."""
    result = {}
    for name, value in sorted(tensors.items()):
        pattern = ".".join("{layer}" if part.isdigit() else part for part in name.split("."))
        everywhere = all(tensors.get(pattern.replace("{layer}", str(layer)), "") == value for layer in range(LAYERS))
        result[pattern if everywhere else name] = value
    return result


def unfolded(tensors):
    return {name.replace("{layer}", str(layer)): shape for name, shape in tensors.items()
            for layer in range(LAYERS if "{layer}" in name else 1)}


def numbers(tensors):
    """Of tensors by name and shape."""
    return {name: weights.draw(name, shape) for name, shape in tensors.items()}


def write(directory, config, values, dtype="F64", shards=1):
    """A model directory; what was in it goes."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    (directory / "config.json").write_text(json.dumps(config))
    names, places = list(values), {}
    for shard in range(shards):
        at = "model.safetensors" if shards == 1 else f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        file = safetensors_numpy.TensorFile(metadata={"format": "pt"})
        for name in names[shard::shards]:
            file.store(name, values[name], dtype)
            places[name] = at
        safetensors_numpy.write(directory / at, file)
    if shards > 1:
        index = {"metadata": {}, "weight_map": places}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def fitted(values, wanted):
    """The tensors that B's class wants: `wanted` names what is taken out, and what is added with its shape."""
    added = unfolded({name: shape for name, shape in wanted.items() if shape is not None})
    removed = unfolded({name: None for name, shape in wanted.items() if shape is None})
    return {**{name: array for name, array in values.items() if name not in removed}, **numbers(added)}


def cases(model):
    """Every pair of a model: what it is called, B's config.json, B's tensors, the outcome."""
    values, changes = numbers(model.tensors), flips.changes(model.config)
    if model.flips and len(model.flips) != len(changes):
        raise ValueError(f"{model.name}: {len(model.flips)} outcomes of {len(changes)} changes: record them anew")
    for change, outcome in zip(changes, model.flips):
        yield from _flipped(model, values, change, outcome)
    for first, second, outcome in model.pairs:
        yield from _flipped(model, values, {**changes[first], **changes[second]}, outcome)
    for name, outcomes in zip(model.tensors, model.edits):
        for share, outcome in zip(EDITS, outcomes):
            moved = weights.moved(values[name], name, share)
            yield f"{name} moved by {share:g}", model.config, {**values, name: moved}, outcome
    for name, (shape, outcome) in model.strays.items():
        yield f"{name} added", model.config, {**values, **numbers({name: shape})}, outcome


def _flipped(model, values, change, outcome):
    said, config = json.dumps(change), flips.apply(model.config, change)
    if isinstance(outcome, dict):
        yield said, config, values, _named(outcome)
        yield said + ", other tensors", config, fitted(values, outcome["wanted"]), outcome["as wanted"]
    else:
        yield said, config, values, outcome


def _named(outcome):
    """Whether what is missing is of attention."""
    missing = [name for name, shape in outcome["wanted"].items() if shape is not None]
    if outcome["as they are"] == "incomplete" and not any(ATTENTION.search(name) for name in missing):
        return "incomplete outside"
    return outcome["as they are"]
