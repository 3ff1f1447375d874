#!/usr/bin/env python3
"""Moves models and asks the reference library whether they still compute the same: moves.py ATTNSYM --list FILE

    --every N     only every Nth case, beginning with number --offset
    --models A,B  only of these models

Needs torch and transformers, and the recorded outcomes. Every model, of every class and with every changed config.json
that the library loads, goes through `act` and `canonicalize` of attention, MLPs and whole models; outputs of the
library, in float64 on files in F64, have to stay to 1e-9, or the command has to refuse (exit status 2). FILE gets a
line of JSON per case; what it has already is not done again. Exit status 1 if outputs moved.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import flips
import library
import record

MOVES = {
    "act attention": ["act"], "act model": ["act", "--scope", "model"],
    "canonicalize attention": ["canonicalize"], "canonicalize mlp": ["canonicalize", "--scope", "mlp"],
    "canonicalize model": ["canonicalize", "--scope", "model"]}
KEPT = 1e-9


def configurations(model):
    """What is moved: a name, config.json, the tensors; and whether all moves are tried or one of them."""
    values, changes = record.numbers(model.tensors), flips.changes(model.config)
    yield "as it is", model.config, values, True
    pairs = [({**changes[i], **changes[j]}, outcome) for i, j, outcome in model.pairs]
    for change, outcome in [*zip(changes, model.flips), *pairs]:
        config = flips.apply(model.config, change)
        if isinstance(outcome, dict):
            if not isinstance(outcome["as wanted"], str):
                yield json.dumps(change) + ", other tensors", config, record.fitted(values, outcome["wanted"]), True
            outcome = outcome["as they are"]
        if not isinstance(outcome, str):
            yield json.dumps(change), config, values, outcome != 0


def cases(models):
    for model in models:
        for number, (what, config, values, everything) in enumerate(configurations(model)):
            for index, move in enumerate(MOVES):
                if everything or index == number % len(MOVES):
                    yield model, what, config, values, move


def moved(binary, folder, model, config, values, move):
    """What became of a model: "kept", "refused" or "moved", by how much, and what the command said."""
    a, b = folder / "a", folder / "b"
    record.write(a, config, values)
    done = subprocess.run([binary, *MOVES[move], a, "-o", b, "--threads", "1"], capture_output=True, text=True,
                          timeout=600)
    if done.returncode == 2:
        return "refused", None, done.stderr.strip()[:300]
    if done.returncode != 0:
        return f"exit status {done.returncode}", None, done.stderr.strip()[:300]
    inputs = library.inputs_of(config, model.architecture)
    one, other = (library.run(library.load(at, model.architecture)[0], inputs) for at in (a, b))
    apart = library.distance(one.outputs, other.outputs)
    if "model" not in move:  # the stream stays
        apart = max(apart, library.distance(one.hidden, other.hidden))
    return ("kept" if apart <= KEPT else "moved"), apart, done.stdout.strip()[:100]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attnsym", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--models")
    options = parser.parse_args()
    models = [model for model in record.read() if not options.models or model.name in options.models.split(",")]
    done = [json.loads(line) for line in options.list.open()] if options.list.exists() else []
    seen = {tuple(line[:3]) for line in done}
    library.in_double()
    with open(options.list, "a") as out:
        for number, (model, what, config, values, move) in enumerate(cases(models)):
            if number % options.every != options.offset % options.every or (model.name, what, move) in seen:
                continue
            with tempfile.TemporaryDirectory() as folder:
                line = [model.name, what, move, *moved(options.attnsym, Path(folder), model, config, values, move)]
            done.append(line)
            print(json.dumps(line), file=out, flush=True)
    counts = collections.Counter((line[2], line[3]) for line in done)
    for (move, became), count in sorted(counts.items()):
        print(f"{move:24} {became:10} {count:6}")
    wrong = [line for line in done if line[3] not in ("kept", "refused")]
    for line in wrong[:50]:
        print("WRONG:", json.dumps(line))
    print(f"{len(done)} moves, {len(wrong)} wrong")
    return 1 if wrong or not done else 0


if __name__ == "__main__":
    sys.exit(main())
