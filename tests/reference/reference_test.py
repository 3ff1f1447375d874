#!/usr/bin/env python3
"""Asks the command about pairs of which the reference library's word is recorded: reference_test.py ATTNSYM

    --every N     only every Nth pair, beginning with number --offset
    --models A,B  only of these models
    --list FILE   every answer as a line of JSON

NumPy alone. No answer may contradict the library: not `identical` or `equivalent` where outputs differ or a tensor is
missing, not `distinct` where they are equal, and a copy of a model is identical to it. Being refused (exit status 2) is
no wrong answer, but has to name a key or a tensor. Exit status 1 if an answer is wrong.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import record

EXIT = {"identical": 0, "equivalent": 0, "distinct": 1, "undecided": 3}
SAME = ("identical", "equivalent")
RESOLVED = 1e-10  # relative difference of outputs below which files in F64 may be called equivalent
COPY = "a copy"


class Command:
    def __init__(self, binary, folder):
        self.binary, self.a, self.b = binary, Path(folder) / "a", Path(folder) / "b"

    def check(self, scope):
        """The verdict, or "refused", and the reason."""
        done = subprocess.run([self.binary, "check", self.a, self.b, "--scope", scope, "--threads", "1", "--json"],
                              capture_output=True, text=True, timeout=600)
        if done.returncode == 2:
            return "refused", done.stderr.strip(), {}
        try:
            said = json.loads(done.stdout)
        except json.JSONDecodeError:
            return f"exit status {done.returncode}", done.stderr.strip(), {}
        if EXIT.get(said["verdict"]) != done.returncode:
            return f"{said['verdict']} with exit status {done.returncode}", said.get("reason", ""), said
        return said["verdict"], said.get("reason", ""), said


def truth_at(scope, outcome, said):
    """How far apart the models are in what the scope compares; a word where the library gives none."""
    if not isinstance(outcome, list):
        return "refused" if outcome == "incomplete outside" and scope == "attention" else outcome  # no word on it
    attention, hidden, outputs = outcome
    if scope == "attention":
        return attention
    return hidden if said.get("outputs") == "hidden states" else outputs


def complaint(scope, what, outcome, verdict, reason, said):
    """What is wrong with an answer, or nothing."""
    truth = truth_at(scope, outcome, said)
    if verdict == "refused":
        return None if "'" in reason or "layers" in reason else "refused without a name"
    if verdict not in EXIT:
        return "no answer"
    if what == COPY:
        return None if verdict == "identical" else f"{verdict}, though it is a copy"
    if truth == "refused":
        return None
    if verdict in SAME and truth in ("incomplete", "incomplete outside"):
        return f"{verdict}, though a tensor is missing"
    if verdict in SAME and truth != 0 and not (verdict == "equivalent" and truth < RESOLVED):
        return f"{verdict}, though {truth:g} apart"
    if verdict == "distinct" and not differs(scope, outcome):
        return "distinct, though equal"
    return None


def differs(scope, outcome):
    """Whether anything is apart that `distinct` may speak of at this scope."""
    if isinstance(outcome, str):
        return scope == "model" or outcome == "incomplete"
    return outcome != 0 and (outcome[0] if scope == "attention" else max(outcome[1:])) != 0


def kind_of(truth):
    return truth if isinstance(truth, str) else "apart" if truth else "equal"


def cases(models):
    """Everything that is asked, in a fixed order."""
    for model in models:
        values = record.numbers(model.tensors)
        yield model, values, COPY, model.config, values, 0
        for case in record.cases(model):
            yield (model, values, *case)


def main():
    options = parsed()
    models = [model for model in record.read() if not options.models or model.name in options.models.split(",")]
    counts, wrong = collections.Counter(), []
    out = open(options.list, "w") if options.list else None
    with tempfile.TemporaryDirectory() as folder:
        command, written = Command(options.attnsym, folder), None
        for number, (model, values, what, config, b, outcome) in enumerate(cases(models)):
            if number % options.every != options.offset % options.every:
                continue
            if written is not model:
                record.write(command.a, model.config, values)
                written = model
            record.write(command.b, config, b, shards=2 if number % 3 == 0 else 1)
            for scope in ("attention", "model"):
                verdict, reason, said = command.check(scope)
                bad = complaint(scope, what, outcome, verdict, reason, said)
                counts[scope, kind_of(truth_at(scope, outcome, said)), verdict] += 1
                if bad:
                    wrong.append(bad)
                    print(f"WRONG: {model.name}, {what}, {scope}: {bad}: {reason[:200]}", flush=True)
                if out:
                    line = [model.name, what, scope, outcome, verdict, bad, reason[:300]]
                    print(json.dumps(line), file=out, flush=True)
    for (scope, kind, verdict), count in sorted(counts.items()):
        print(f"{scope:10} {kind:18} {verdict:11} {count:6}")
    print(f"{sum(counts.values())} answers, {len(wrong)} wrong")
    return 1 if wrong or not counts else 0


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attnsym", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--models")
    parser.add_argument("--list")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
