#!/usr/bin/env python3
"""Forged certificates: forge.py ATTNSYM --resume FILE

    --count N    how many forgeries there shall be in FILE (100000)
    --near N     how many pairs near the limit of rounding are asked for both verdicts (200)
    --seed N     (1)

Genuine certificates of tiny models, of attention and of whole models, rounded and exact, are changed in their words,
digests, gauges, permutations, classes, neurons, stream and tokens; the digest is made good again, so that it is the
claim that `attnsym certify` has to see through. Wrong is one that is accepted though

  - its word is stronger than what holds for the two models, or
  - its evidence was changed by more than rounding, and is none. (Shifts are none by themselves: what biases may trade
    is compared as one constant. They are counted as accepted only.)

Of pairs near the limit none may have an accepted `equivalent` and an accepted `distinct`, which is tried with random
tokens. FILE gets a line of JSON per forgery; a run that is stopped goes on. Exit status 1 if anything is wrong.
"""

import argparse
import collections
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "acceptance"))
import family_fixtures  # noqa: E402
import family_model  # noqa: E402
import safetensors_numpy  # noqa: E402

FAMILIES = ("llama", "gpt2", "bert", "gemma2", "qwen3", "falcon-grouped")
ZEROS = "0" * 64
WORDS = ("identical", "equivalent", "distinct", "undecided", "")


class Command:
    def __init__(self, binary):
        self.binary = binary

    def __call__(self, *arguments):
        return subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True, timeout=600)

    def accepts(self, certificate, a, b):
        done = self("certify", certificate, a, b, "--threads", "1")
        if done.returncode not in (0, 1, 2, 3):
            raise RuntimeError(f"certify ended with {done.returncode}: {done.stderr}")
        return done.returncode == 0


def write(path, certificate):
    """The certificate with its digest made good."""
    certificate.metadata["digest"] = ZEROS
    safetensors_numpy.write(path, certificate)
    certificate.metadata["digest"] = hashlib.sha256(path.read_bytes()).hexdigest()
    safetensors_numpy.write(path, certificate)


class Pair:
    """Two models, what is true of them, and the genuine certificates."""

    def __init__(self, command, folder, family, dtype, how, seed):
        self.command, self.folder, self.name = command, Path(folder), f"{family} {dtype} {how}"
        self.folder.mkdir(parents=True)
        self.a, self.b = self.folder / "a", self.folder / "b"
        family_fixtures.make(family, self.a, dtype, seed)
        self.true = getattr(self, how)(seed)
        self.certificates = list(self._genuine(self.true))

    def copied(self, seed):
        shutil.copytree(self.a, self.b)
        return {"attention": {"identical", "equivalent"}, "model": {"identical", "equivalent"}, "exact": True}

    def moved_exactly(self, seed):
        self.command("act", self.a, "-o", self.b, "--exact", "--seed", seed)
        return {"attention": {"identical", "equivalent"}, "model": {"identical", "equivalent"}, "exact": True}

    def moved(self, seed):
        self.command("act", self.a, "-o", self.b, "--seed", seed)
        return {"attention": {"equivalent"}, "model": {"equivalent"}, "exact": False}

    def moved_whole(self, seed):
        self.command("act", self.a, "-o", self.b, "--scope", "model", "--seed", seed)
        # Attention alone is another one behind another stream.
        return {"attention": {"distinct"}, "model": {"equivalent"}, "exact": False}

    def edited(self, seed):
        with family_model.edited_copy(self.a, self.b) as model:
            heads = model.heads(1)
            heads.value[0, 0] *= 1.3
            model.store(1, heads)
        return {"attention": {"distinct"}, "model": {"distinct"}, "exact": True}

    def _genuine(self, true):
        """Certificates, where check gives one; what it says may be said."""
        for scope, options in (("attention", []), ("attention", ["--exact"]), ("model", ["--scope", "model"])):
            path = self.folder / f"{len(list(self.folder.iterdir()))}.cert"
            done = self.command("check", self.a, self.b, *options, "--certificate", path)
            if path.exists():
                said = safetensors_numpy.read(path)
                if said.metadata["arithmetic"] != "exact":
                    true[scope].add(said.metadata["verdict"])
                yield said
            elif done.returncode not in (2, 3):
                raise RuntimeError(f"{self.name}: no certificate: {done.stdout} {done.stderr}")

    def is_false(self, certificate):
        """Whether a certificate claims more than is true: in the stored numbers exactly, or up to rounding. Without a
        word nothing is claimed."""
        claimed = certificate.metadata.get("verdict")
        if certificate.metadata.get("arithmetic") == "exact" and not self.true["exact"]:
            return claimed != "distinct"
        return claimed not in self.true["model" if certificate.metadata.get("scope") == "model" else "attention"]


# Forgeries: each changes a certificate and says what it did; None where it does not apply.

def word(random, certificate):
    certificate.metadata["verdict"] = str(random.choice(WORDS))
    return "verdict " + certificate.metadata["verdict"]


def arithmetic(random, certificate):
    now = certificate.metadata.get("arithmetic")
    certificate.metadata["arithmetic"] = "rounded" if now == "exact" else "exact"
    return "arithmetic " + certificate.metadata["arithmetic"]


def scope(random, certificate):
    model = certificate.metadata.get("scope") == "model"
    certificate.metadata["scope"] = "attention" if model else "model"
    certificate.metadata.setdefault("outputs", "logits")
    return "scope " + certificate.metadata["scope"]


def outputs(random, certificate):
    certificate.metadata["outputs"] = str(random.choice(["logits", "probabilities", "hidden states", ""]))
    return "outputs"


def metadata(random, certificate):
    key = str(random.choice(sorted(set(certificate.metadata) - {"digest"})))
    if random.random() < 0.5:
        del certificate.metadata[key]
        return "without " + key
    certificate.metadata[key] = str(random.choice(["", "0", "1", "-1", "3", "{}", "1e99", "null", "exact"]))
    return "other " + key


def files(random, certificate):
    side = str(random.choice(["a_files", "b_files"]))
    try:
        digests = json.loads(certificate.metadata[side])
        name = str(random.choice(sorted(digests)))
    except (KeyError, TypeError, ValueError):  # lost or broken already
        return None
    if random.random() < 0.5:
        del digests[name]
    else:
        digests[name] = hashlib.sha256(random.bytes(8)).hexdigest()
    certificate.metadata[side] = json.dumps(digests)
    return f"{side} {name}"


def numbers(random, certificate):
    """An entry, a row or all of a table of numbers."""
    name = _any(random, certificate, "F64")
    if name is None:
        return None
    values = certificate.stored[name].copy()
    place = tuple(int(random.integers(size)) for size in values.shape)[:int(random.integers(len(values.shape) + 1))]
    size = float(10 ** random.uniform(-2, 2)) * float(random.choice([-1, 1]))
    how = str(random.choice(["add", "scale", "set"]))
    change = random.standard_normal(np.shape(values[place])) * size
    if how == "set":
        values[place] = random.choice([0, np.nan, np.inf, 1e300, size])
    else:
        values[place] = values[place] + change if how == "add" else values[place] * (1 + size)
    certificate.stored[name] = values
    return f"{how} {name}"


def order(random, certificate):
    """Heads, classes, neurons and tokens."""
    name = _any(random, certificate, "I64")
    if name is None:
        return None
    values = certificate.stored[name].copy()
    how = str(random.choice(["swap", "set", "roll"]))
    if how == "set":
        values.reshape(-1)[random.integers(values.size)] = random.choice([-1, 0, 1, 2, 5, values.size, 1 << 62])
    elif how == "roll":
        values = np.roll(values, int(random.integers(1, 4))).reshape(values.shape)
    else:
        flat = values.reshape(-1)
        i, j = random.integers(values.size, size=2)
        flat[[i, j]] = flat[[j, i]]
    certificate.stored[name] = values
    return f"{how} {name}"


def tensors(random, certificate):
    """A tensor is lost, has another shape, or comes from another place."""
    if not certificate.stored:
        return None
    name = str(random.choice(list(certificate.stored)))
    how = str(random.choice(["lose", "flatten", "shorten", "other"]))
    values = certificate.stored[name]
    if how == "lose":
        del certificate.stored[name]
    elif how == "other":
        same = [other for other in certificate.stored if certificate.dtypes[other] == certificate.dtypes[name]]
        certificate.stored[name] = certificate.stored[str(random.choice(same))].copy()
    else:
        certificate.stored[name] = values.reshape(-1) if how == "flatten" else values[:-1].copy()
    return f"{how} {name}"


def witness(random, certificate):
    """Random tokens or hidden states as a witness, which models that are equal have none of."""
    certificate.metadata["verdict"] = "distinct"
    return "witness " + give_witness(random, certificate)


def give_witness(random, certificate):
    if certificate.metadata.get("scope") == "model":
        certificate.stored["witness.tokens"] = random.integers(0, 24, int(random.integers(1, 60))).astype("<i8")
        certificate.dtypes["witness.tokens"] = "I64"
        return "tokens"
    width = int(random.choice([32, 48]))
    size = float(10 ** random.uniform(-2, 4))
    certificate.stored["witness.input"] = size * random.standard_normal((int(random.integers(1, 9)), width))
    certificate.dtypes["witness.input"] = "F64"
    certificate.metadata["witness_layer"] = str(random.integers(2))
    return "input"


FORGERIES = (word, arithmetic, scope, outputs, metadata, files, numbers, numbers, numbers, order, order, order, tensors,
             witness)


def _any(random, certificate, dtype):
    names = [name for name in certificate.stored if certificate.dtypes[name] == dtype and certificate.stored[name].size]
    return str(random.choice(names)) if names else None


def forge(random, genuine):
    """A copy with one to three forgeries in it, and what was done."""
    copy = safetensors_numpy.TensorFile(dict(genuine.stored), dict(genuine.dtypes), dict(genuine.metadata))
    done = [FORGERIES[random.integers(len(FORGERIES))](random, copy) for _ in range(int(random.choice([1, 1, 1, 2, 3])))]
    return copy, [one for one in done if one]


def is_changed(certificate, genuine):
    """Whether files or evidence that the certificate's scope speaks of are others."""
    if any(certificate.metadata.get(side) != genuine.metadata[side] for side in ("a_files", "b_files")):
        return True
    whole = certificate.metadata.get("scope") == "model"
    return any(name not in certificate.stored or not np.array_equal(certificate.stored[name], values)
               for name, values in genuine.stored.items()
               if not name.endswith(".shift") and "witness" not in name
               and (whole or not name.endswith(("neurons", "stream"))))


def forgeries(command, folder, count, done, seed):
    pairs = [Pair(command, folder / f"{family}-{dtype}-{how}", family, dtype, how, seed)
             for family in FAMILIES for dtype in ("F64", "F32", "BF16")
             for how in ("copied", "moved_exactly", "moved", "moved_whole", "edited")]
    pairs = [pair for pair in pairs if pair.certificates]
    path = folder / "forged.cert"
    for number in range(done, count):
        random = np.random.default_rng([seed, number])
        pair = pairs[random.integers(len(pairs))]
        genuine = pair.certificates[random.integers(len(pair.certificates))]
        forged, said = forge(random, genuine)
        write(path, forged)
        accepted = command.accepts(path, pair.a, pair.b)
        wrong = None
        if accepted and pair.is_false(forged):
            wrong = f"accepted: {forged.metadata.get('verdict')}, {forged.metadata.get('arithmetic')}"
        elif accepted and is_changed(forged, genuine) and forged.metadata.get("verdict") != "distinct":
            wrong = "accepted with other evidence"
        yield {"number": number, "pair": pair.name, "scope": genuine.metadata["scope"],
               "of": genuine.metadata["verdict"], "forged": said, "accepted": accepted, "wrong": wrong}


def near(command, folder, number, seed):
    """A pair near the limit: whether `equivalent` is accepted of it, and `distinct` as well."""
    random = np.random.default_rng([seed, number, 1])
    family, dtype = str(random.choice(FAMILIES)), str(random.choice(["F32", "BF16", "F16"]))
    a, b, path = folder / "a", folder / "b", folder / "near.cert"
    family_fixtures.make(family, a, dtype, number)
    with family_model.edited_copy(a, b) as model:
        read = [name for name in model.tensors.stored if not name.endswith(("attn.bias", "masked_bias"))]
        name = str(random.choice(read))
        share = float(10 ** (random.uniform(-7, -4) + (0 if dtype == "F32" else 3)))
        values = model.tensors.numbers(name)
        model.tensors.store(name, values * (1 + share) if random.random() < 0.5 else
                            values + share * random.standard_normal(values.shape) * values.std())
    line = {"near": number, "family": family, "dtype": dtype, "tensor": name, "share": share, "wrong": None}
    for scope_ in ("attention", "model"):
        path.unlink(missing_ok=True)
        said = json.loads(command("check", a, b, "--scope", scope_, "--json", "--certificate", path).stdout or "{}")
        line[scope_] = said.get("verdict", "refused")
        if line[scope_] not in ("identical", "equivalent") or not command.accepts(path, a, b):
            continue
        genuine = safetensors_numpy.read(path)
        for attempt in range(25):
            forged = safetensors_numpy.TensorFile(dict(genuine.stored), dict(genuine.dtypes), dict(genuine.metadata))
            forged.metadata["verdict"] = "distinct"
            forged.metadata["seed"] = str(random.integers(1 << 40))
            give_witness(random, forged)
            write(path, forged)
            if command.accepts(path, a, b):
                line["wrong"] = f"{scope_}: {line[scope_]} and distinct are both accepted"
                break
    return line


def report(lines):
    def kinds(line):
        return " ".join(sorted({one.split()[0] for one in line["forged"]}))

    counts = collections.Counter((line["scope"], line["of"], kinds(line), line["accepted"])
                                 for line in lines if "forged" in line)
    for (scope_, of, said, accepted), count in sorted(counts.items(), key=lambda item: -item[1])[:40]:
        print(f"{scope_:10} {of:11} {'accepted' if accepted else 'rejected':9} {count:6}  {said}")
    pairs = collections.Counter((line["attention"], line["model"]) for line in lines if "near" in line)
    for (attention, model), count in sorted(pairs.items()):
        print(f"near the limit: attention {attention}, model {model}: {count}")
    wrong = [line for line in lines if line["wrong"]]
    for line in wrong[:40]:
        print("WRONG:", json.dumps(line))
    print(f"{len(lines)} lines, {sum(bool(line.get('accepted')) for line in lines)} accepted, {len(wrong)} wrong")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attnsym", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--resume", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--near", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    command = Command(options.attnsym)
    lines = [json.loads(line) for line in options.resume.open()] if options.resume.exists() else []
    with open(options.resume, "a") as out, tempfile.TemporaryDirectory() as folder:
        for number in range(sum("near" in line for line in lines), options.near):
            with tempfile.TemporaryDirectory() as inner:
                lines.append(near(command, Path(inner), number, options.seed))
            print(json.dumps(lines[-1]), file=out, flush=True)
        done = sum("number" in line for line in lines)
        for line in forgeries(command, Path(folder), options.count, done, options.seed):
            lines.append(line)
            print(json.dumps(line), file=out, flush=True)
    return 1 if report(lines) else 0


if __name__ == "__main__":
    sys.exit(main())
