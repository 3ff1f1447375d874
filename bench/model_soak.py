#!/usr/bin/env python3
"""Verdicts about whole models on many random pairs of known truth: model_soak.py ATTNSYM --resume FILE

    --count N    how many pairs there shall be in FILE (20000)
    --seed N     seed of the first pair (1); the next one has the next seed
    --only SEED  one pair, and what became of it

Tiny models of every family, stored as F64, F32, F16 or BF16. B is A moved by `act --scope model`, with gains folded by
hand, rounded to fewer bits, with one number edited by anything from far below the rounding to far above it, or some of
these. FILE gets a line of JSON per pair; a run that is stopped goes on where it was. The judge is the forward pass of
tests/acceptance, in NumPy. Wrong is

  - `distinct` of a pair that is one function up to rounding,
  - `identical` or `equivalent` of one whose outputs differ by more than 100 times what rounding does,
  - a witness that NumPy does not confirm: other outputs, or no further apart than rounding explains.

Exit status 1 if anything is wrong.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "acceptance"))
import family_fixtures  # noqa: E402
import family_model  # noqa: E402
import model_numpy  # noqa: E402
import safetensors_numpy  # noqa: E402

UNIT = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-9}
LOWER = {"F64": ("F32", "BF16"), "F32": ("F16", "BF16"), "F16": ("BF16",), "BF16": ()}
LIMIT = 100       # times the noise: an edit that must be seen
ARITHMETIC = 1e-13  # relative, of the forward passes in double
CONFIRMED = 1e-8  # relative difference of an output from what a witness says
KINDS = ("moved", "edited", "folded", "rounded", "moved edited", "folded edited", "folded moved", "edited rounded",
         "moved rounded", "folded moved edited")


class Pair:
    """A and B, made from a seed; `kinds` is what was done to B."""

    def __init__(self, binary, folder, seed):
        random = np.random.default_rng(seed)
        self.binary, self.folder, self.random = binary, Path(folder), random
        self.a, self.b = self.folder / "a", self.folder / "b"
        names = list(family_fixtures.FIXTURES)
        self.family = names[seed % len(names)]
        self.dtype = str(random.choice(list(UNIT)))
        self.kinds = str(random.choice(KINDS)).split()
        self.edit = 0.0
        family_fixtures.make(self.family, self.a, self.dtype, seed, _sizes(self.family, random))
        self.refused = None
        source = self.a
        for number, kind in enumerate(self.kinds):
            target = self.b if number == len(self.kinds) - 1 else self.folder / f"step{number}"
            self.refused = getattr(self, kind)(source, target)
            if self.refused:
                return
            source = target

    def moved(self, source, target):
        done = subprocess.run([self.binary, "act", source, "-o", target, "--scope", "model", "--threads", "1", "--seed",
                               str(self.random.integers(1 << 30))], capture_output=True, text=True, timeout=600)
        return done.stderr.strip() if done.returncode else None

    def edited(self, source, target):
        with family_model.edited_copy(source, target) as model:
            name = str(self.random.choice([name for name in model.tensors.stored if _is_read(name)]))
            values = model.tensors.numbers(name)
            place = tuple(int(self.random.integers(size)) for size in values.shape)
            self.edit = float(10 ** self.random.uniform(np.log10(UNIT[self.dtype]) - 1, 0))
            values[place] += self.edit * np.sqrt(np.mean(values**2)) * self.random.choice([-1, 1])
            model.tensors.store(name, values)

    def folded(self, source, target):
        with family_model.edited_copy(source, target) as model:
            for layer in range(model.layers):
                fold(model, layer, "attention")
                fold(model, layer, "mlp")

    def rounded(self, source, target):
        lower = LOWER[self.dtype]
        with family_model.edited_copy(source, target) as model:
            for name in list(model.tensors.stored) if lower else []:
                if model.tensors.dtypes[name] in UNIT:
                    model.tensors.store(name, model.tensors.numbers(name), str(lower[len(self.kinds) % len(lower)]))


def fold(model, layer, place):
    """Gains of the norm in front of attention or MLP into what reads behind it: into both where they share it."""
    run = model_numpy._Run(model)
    spec = run.spec
    if place not in spec.norms or spec.post:
        return
    gain_name, bias_name = run._names(spec.norms[place], layer)
    if gain_name is None:
        return
    tensors = model.tensors
    gain = tensors.numbers(gain_name) + spec.gain_offset
    if np.min(np.abs(gain)) < 1e-2:
        return
    shared = (place == "attention" and spec.parallel(run.config)
              and run._names(spec.norms.get("mlp", ()), layer)[0] is None)
    if place == "attention":
        heads = model.heads(layer)
        heads.query, heads.key, heads.value = (part * gain for part in (heads.query, heads.key, heads.value))
        model.store(layer, heads)
    readers = [spec.gate_up] if spec.gate_up else [spec.up, spec.gate] if spec.gate else [spec.up]
    for reader in readers if place == "mlp" or shared else ():
        name = reader.format(layer=layer) + ".weight"
        tensors.store(name, tensors.numbers(name) * (gain[:, None] if spec.in_out else gain))
    tensors.store(gain_name, np.full_like(gain, 1 - spec.gain_offset))
    if bias_name in tensors:
        tensors.store(bias_name, tensors.numbers(bias_name) / gain)


def _sizes(family, random):
    """Other sizes for a family's fixture, as its keys have them."""
    config = family_fixtures.FIXTURES[family]
    text = config.get("text_config", config)
    sizes = {key: int(random.integers(3, 12)) for key in ("intermediate_size", "n_inner") if key in text}
    if "vocab_size" in text:
        sizes["vocab_size"] = int(random.integers(4, 20))
    if family in ("bert", "roberta", "gpt2", "vit", "llama", "mistral", "qwen2", "olmo2", "bloom"):
        heads, head = int(random.choice([1, 2, 4])), int(random.choice([2, 4, 8]))
        if heads * head < 4:
            head = 4  # of two numbers LayerNorm leaves the sign of their difference, which rounding may turn
        sizes |= {_key(text, "hidden_size", "n_embd"): heads * head, _key(text, "num_attention_heads", "n_head"): heads}
        if "num_key_value_heads" in text:
            sizes["num_key_value_heads"] = int(random.choice([k for k in (1, 2, 4) if heads % k == 0]))
    return sizes


def _key(config, *names):
    return next(name for name in names if name in config)


def _is_read(name):
    """Whether a number of the tensor counts: not masks, which are none of the model."""
    return not name.endswith(("attn.bias", "masked_bias"))


class Judge:
    """What NumPy says of a pair: outputs, and how much rounding moves them."""

    def __init__(self, pair):
        self.models = [family_model.load(directory) for directory in (pair.a, pair.b)]
        self.random = pair.random

    def apart(self):
        """The largest difference over the noise, on a few sequences: some amplify rounding more than others."""
        largest = 0
        for tokens in self.sequences():
            ran = [model_numpy.outputs(model, tokens) for model in self.models]
            noise = self.noise(tokens, ran) + ARITHMETIC * np.abs(ran).max()
            largest = max(largest, float(np.abs(ran[0] - ran[1]).max() / noise))
        return largest

    def noise(self, tokens, ran):
        """What moving all stored numbers within their rounding does to the outputs of both models."""
        return sum(np.abs(model_numpy.outputs(_moved_within_rounding(model, self.random), tokens) - outputs).max()
                   for model, outputs in zip(self.models, ran))

    def sequences(self):
        model = self.models[0]
        spec = model_numpy._spec(model.config)
        if spec.class_token:
            patches = model.tensors.numbers(spec.positions).shape[1] - 1
            numbers = model.tensors.numbers(spec.embedding + ".weight")[0].size
            return [self.random.integers(0, numbers + 1, patches).tolist()]
        vocabulary = len(model.tensors.numbers(spec.embedding + ".weight"))
        allowed = [token for token in range(vocabulary) if token != model.config.get("pad_token_id", -1) or
                   model.config["model_type"] != "roberta"]
        return [self.random.choice(allowed, 9).tolist() for _ in range(2)]

    def refute(self, witness):
        """Why a witness is none."""
        found = [model_numpy.outputs(model, witness["tokens"]) for model in self.models]
        size = np.abs(found).max()
        place = witness["position"], witness["output"]
        for outputs, claimed in zip(found, (witness["output_a"], witness["output_b"])):
            if not abs(outputs[place] - claimed) <= CONFIRMED * size:
                return f"output is {outputs[place]}, not {claimed}"
        gap, noise = abs(found[0][place] - found[1][place]), self.noise(witness["tokens"], found)
        return None if gap > noise else f"outputs are {gap} apart where rounding explains {noise}"


def _moved_within_rounding(model, random):
    moved = safetensors_numpy.TensorFile()
    for name in model.tensors.stored:
        values = model.tensors.numbers(name)
        if model.tensors.dtypes[name] in UNIT:
            unit = UNIT[model.tensors.dtypes[name]]
            values = values * (1 + unit * random.uniform(-1, 1, values.shape))
        moved.store(name, values, "F64")
    return family_model.FamilyModel(model.config, model.family, moved)


def judged(binary, seed):
    """The line of a pair."""
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(binary, folder, seed)
        line = {"seed": seed, "family": pair.family, "dtype": pair.dtype, "kinds": " ".join(pair.kinds)}
        if pair.refused:
            return line | {"verdict": "not moved", "reason": pair.refused[:300], "wrong": None}
        done = subprocess.run([binary, "check", pair.a, pair.b, "--scope", "model", "--json", "--threads", "1"],
                              capture_output=True, text=True, timeout=600)
        if done.returncode not in (0, 1, 3):
            return line | {"verdict": "refused", "reason": done.stderr.strip()[:300],
                           "wrong": None if done.returncode == 2 else f"exit status {done.returncode}"}
        said = json.loads(done.stdout)
        return line | {"verdict": said["verdict"], "reason": said["reason"][:300], "edit": pair.edit,
                       "wrong": _wrong(pair, said, Judge(pair))}


def _wrong(pair, said, judge):
    if said["verdict"] in ("identical", "equivalent"):
        apart = judge.apart()
        return f"outputs are {apart:g} times the noise apart" if apart > LIMIT else None
    if said["verdict"] == "distinct":
        return "it is one function" if "edited" not in pair.kinds else judge.refute(said["witness"])
    return None


def report(lines):
    counts = collections.Counter((line["kinds"], line["verdict"]) for line in lines)
    for (kinds, verdict), count in sorted(counts.items()):
        print(f"{kinds:22} {verdict:11} {count:6}")
    causes = collections.Counter(_cause(line["reason"]) for line in lines if line["verdict"] == "undecided")
    for cause, count in causes.most_common(10):
        print(f"{count:6} undecided: {cause}")
    wrong = [line for line in lines if line["wrong"]]
    for line in wrong[:20]:
        print("WRONG:", json.dumps(line))
    print(f"{len(lines)} pairs, {len(wrong)} wrong")
    return wrong


def _cause(reason):
    """A reason without its numbers."""
    return " ".join("#" if any(c.isdigit() for c in word) else word for word in reason.split())[:110]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attnsym", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    if options.only is not None:
        print(json.dumps(judged(options.attnsym, options.only), indent=2))
        return 0
    lines = [json.loads(line) for line in options.resume.open()] if options.resume.exists() else []
    with open(options.resume, "a") as out:
        for seed in range(options.seed + len(lines), options.seed + options.count):
            lines.append(judged(options.attnsym, seed))
            print(json.dumps(lines[-1]), file=out, flush=True)
    return 1 if report(lines) else 0


if __name__ == "__main__":
    sys.exit(main())
