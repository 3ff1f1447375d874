#!/usr/bin/env python3
"""Records what the reference library says of pairs of tiny models: make.py [--out FILE] [MODEL...]

Needs torch and transformers 5; `pip install torch transformers safetensors`. What FILE (by default the recorded one
beside this script) has already is kept, so that the run can be stopped and started again.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

import bases
import flips
import library
import record
import weights

PAIRS = 40           # of two changes, per model
EQUAL = 1e-12        # relative
FEW = 10             # tensors that are added or taken out; more of them are other layers


class Judge:
    """Asks the library about pairs of one model."""

    def __init__(self, folder, architecture, config, tensors):
        self.folder, self.architecture, self.config = Path(folder), architecture, config
        self.values = record.numbers(tensors)
        self.inputs = library.inputs_of(config, architecture)
        self.a, self.b = (self.load(config, self.values)[0] for _ in range(2))
        self.run = library.run(self.a, self.inputs)

    def load(self, config, values):
        record.write(self.folder / "b", config, values)
        return library.load(self.folder / "b", self.architecture)

    def flipped(self, change):
        """The outcome of a change of the configuration."""
        config = flips.apply(self.config, change)
        try:
            model, missing, unexpected = self.load(config, self.values)
        except Exception:  # whatever the library objects to
            return "refused"
        as_they_are = "incomplete" if missing else self.outcome(model)
        if not missing and not unexpected:
            return as_they_are
        wanted = record.folded({**{name: None for name in unexpected}, **missing})
        if len(wanted) > FEW:
            return as_they_are
        try:
            model, missing, unexpected = self.load(config, record.fitted(self.values, wanted))
            as_wanted = "incomplete" if missing else self.outcome(model)
        except Exception:
            as_wanted = "refused"
        return {"as they are": as_they_are, "wanted": wanted, "as wanted": as_wanted}

    def edited(self, name, share):
        moved = weights.moved(self.values[name], name, share)
        tensors = self.b.state_dict()  # shared with the model
        if name not in tensors:        # where files have other names than modules
            return self.outcome(self.load(self.config, {**self.values, name: moved})[0])
        tensors[name].copy_(torch.from_numpy(moved))
        outcome = self.outcome(self.b)
        tensors[name].copy_(torch.from_numpy(self.values[name]))
        return outcome

    def added(self, name, shape):
        values = {**self.values, **record.numbers({name: shape})}
        return [shape, self.outcome(self.load(self.config, values)[0])]

    def outcome(self, model):
        try:
            apart = library.distances(self.a, self.inputs, self.run, model)
        except Exception:
            return "refused"
        rounded = [0 if one < EQUAL else float(f"{min(one, 1e9):.0e}") for one in apart]
        return rounded if any(rounded) else 0


def judged(name, kind, architecture, given, folder):
    """The line of a model."""
    shapes = library.save(folder / "a", kind, architecture, given)
    config = json.loads((folder / "a" / "config.json").read_text())
    config.pop("transformers_version", None)
    tensors = record.unfolded(record.folded(shapes))
    judge = Judge(folder, architecture, config, tensors)
    line = {"name": name, "class": architecture, "transformers": library.VERSION, "config": config,
            "tensors": record.folded(shapes)}
    if name in bases.BASES:
        changes = flips.changes(config)
        line["flips"] = [judge.flipped(change) for change in changes]
        line["pairs"] = [[i, j, judge.flipped({**changes[i], **changes[j]})]
                         for i, j in _pairs(changes, line["flips"])]
        line["strays"] = {stray: judge.added(stray, shape) for stray, shape in _strays(tensors).items()}
    shares = record.EDITS[:2 if name in bases.BASES else 1]
    line["edits"] = [[judge.edited(tensor, share) for share in shares] for tensor in tensors]
    return line


def _strays(tensors):
    """Biases of what has none, and a head of its own where embeddings are tied."""
    found = {}
    for name, shape in tensors.items():
        bias = name.removesuffix("weight") + "bias"
        if name.endswith("weight") and bias not in tensors and ".1." not in name:
            found[bias] = shape[:1]
    if "lm_head.weight" not in tensors:
        embedding = next((shape for name, shape in tensors.items() if "embed" in name or "wte" in name), None)
        found |= {"lm_head.weight": embedding, "score.weight": [2, embedding[-1]]}
    return found


def _pairs(changes, outcomes):
    """Pairs of changes of different keys; every second one of changes that count."""
    random = np.random.Generator(np.random.PCG64(len(changes)))
    everything = range(len(changes))
    counting = [i for i in everything if outcomes[i] not in (0, "refused")]
    found = set()
    while len(found) < PAIRS:
        pool = counting if len(found) % 2 else [i for i in everything if outcomes[i] != "refused"]
        i, j = sorted(int(k) for k in random.choice(pool, 2, replace=False))
        if not set(changes[i]) & set(changes[j]):
            found.add((i, j))
    return sorted(found)


def main():
    library.in_double()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=record.PATH)
    parser.add_argument("models", nargs="*")
    options = parser.parse_args()
    done = {model.name for model in record.read(options.out)} if options.out.exists() else set()
    for name, kind, architecture, given in bases.models():
        if name in done or options.models and name not in options.models:
            continue
        with tempfile.TemporaryDirectory() as folder, open(options.out, "a") as out:
            line = judged(name, kind, architecture, given, Path(folder))
            out.write(json.dumps(line, separators=(",", ":")) + "\n")
        print(name, len(line.get("flips", [])), "flips", len(line["edits"]), "tensors", flush=True)


if __name__ == "__main__":
    main()
