#!/usr/bin/python3
"""Damaged files, given to the command: mutate.py ATTNSYM --resume FILE. Needs NumPy.

    --count N    how many runs there shall be in FILE (1000000)
    --seed N     of the mutations (1)
    --work DIR   where files are written, best a disk in memory (/dev/shm)

Every run changes one file of a small genuine case - weights, config, index, layout, certificate, tokenizer, GGUF,
llama2.c - in its bytes or in its JSON, and runs the command on it. Bad are: a signal, an exit status that is none of
0 to 3, more than 10 seconds, more memory than twice the files and 200 MB, trouble without a word or with control
characters, output that is not the JSON it was asked for, an OUT that is there after trouble, and anything else that is
left behind. FILE counts runs and exit statuses by case and keeps what is bad, with the file in base64; a run that is
stopped goes on. Exit status 1 if anything is bad.
"""

import argparse
import base64
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "acceptance"))

import family_fixtures
import gguf_numpy
import safetensors_numpy

SECONDS, SPARE_BYTES = 10, 200 << 20
NUMBERS = (0, 1, -1, 2, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, -2**63, 0.5,
           1e308, -0.0, 1e-320)
VALUES = (*NUMBERS, None, True, False, "", "x", "F32", "BF16", "F8_E4M3", "llama", "\0", "\x1b[2J", "é" * 40, "a" * 5000,
          [], {}, [[]], [0], {"a": 1}, [2**40, 2**40], [-1, 4])
BYTES = (0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x7B, 0x5D)


class Case:
    """Files of a genuine call, and the call; OUT stands for what is to be written."""

    def __init__(self, name, folder, *call):
        self.name, self.call = name, call
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*"))
                      if path.is_file()}
        self.size = sum(map(len, self.files.values()))


class Cases:
    def __init__(self, attnsym, folder):
        self.attnsym, self.root = attnsym, Path(folder)

    def run(self, *arguments):
        subprocess.run([self.attnsym, *map(str, arguments)], capture_output=True, check=False, timeout=120)

    def pair(self, name, family, dtype="F32"):
        folder = self.root / name
        family_fixtures.make(family, folder / "A", dtype, 1)
        self.run("act", folder / "A", "-o", folder / "B", "--scope", "model", "--seed", 3)
        return folder

    def all(self):
        for family, dtype in (("llama", "BF16"), ("gpt2", "F32"), ("bert", "F16"), ("gemma2", "F32"), ("vit", "F32")):
            folder = self.pair(family, family, dtype)
            for scope in ("attention", "model"):
                yield Case(f"check {family} {scope}", folder, "check", "A", "B", "--scope", scope, "--json")
            yield Case(f"check {family} explain", folder, "check", "A", "B", "--scope", "model", "--explain", "--json")
            yield Case(f"act {family}", folder, "act", "A", "-o", "OUT", "--scope", "model")
            yield Case(f"canonicalize {family}", folder, "canonicalize", "A", "-o", "OUT")
            yield Case(f"explain {family}", folder, "explain", "A", "--json")
        yield from self.certificates()
        yield from self.other_formats()

    def certificates(self):
        for scope in ("attention", "model"):
            folder = self.pair(f"certificate-{scope}", "llama")
            self.run("check", folder / "A", folder / "B", "--scope", scope, "--certificate", folder / "certificate")
            yield Case(f"certify {scope}", folder, "certify", "certificate", "A", "B", "--json")

    def other_formats(self):
        folder = self.pair("gguf", "llama")
        gguf_numpy.convert(folder / "A", folder / "model.gguf", "Q8_0")
        yield Case("check gguf", folder, "check", "A", "model.gguf", "--json")
        yield Case("explain gguf", folder, "explain", "model.gguf", "--json")
        folder = self.pair("shards", "llama")
        self.split(folder / "A")
        yield Case("check shards", folder, "check", "A", "B", "--scope", "model", "--json")
        yield Case("act shards", folder, "act", "A", "-o", "OUT")
        folder = self.pair("text", "gpt2")
        family_fixtures.make("gpt2", folder / "C", "F32", 2)
        shutil.rmtree(folder / "B")
        vocabulary = {f"tok{i}": i for i in range(24)}
        (folder / "A/tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": vocabulary, "merges": []}}))
        (folder / "A/vocab.txt").write_text("\n".join(vocabulary))
        yield Case("check text", folder, "check", "A", "C", "--scope", "model")

    @staticmethod
    def split(folder):
        stored = safetensors_numpy.read(folder / "model.safetensors")
        names = list(stored.stored)
        index = {}
        for part in range(2):
            shard = safetensors_numpy.read(folder / "model.safetensors")
            for name in names:
                if names.index(name) % 2 == part:
                    index[name] = f"part{part}.safetensors"
                else:
                    del shard.stored[name]
            safetensors_numpy.write(folder / f"part{part}.safetensors", shard)
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


class Mutator:
    def __init__(self, generator):
        self.random = generator

    def __call__(self, name, data):
        if name.endswith(".json") and self.random.random() < 0.7:
            return self.json_text(data)
        if (name.endswith(".safetensors") or name == "certificate") and self.random.random() < 0.7:
            return self.header(name, data)
        return self.bytes(data)

    def bytes(self, data):
        data = bytearray(data)
        for _ in range(self.random.choice((1, 1, 1, 2, 4, 16))):
            # The front, where the structure is, more often than the rest.
            reach = len(data) if self.random.random() < 0.5 else min(len(data), 300)
            at = self.random.randrange(reach) if reach else 0
            length = self.random.choice((1, 1, 2, 4, 8, 64))
            action = self.random.randrange(7)
            if action == 0 and data:
                data[at] ^= 1 << self.random.randrange(8)
            elif action == 1 and data:
                data[at] = self.random.choice(BYTES)
            elif action == 2:
                del data[at:at + length]
            elif action == 3:
                data[at:at] = bytes(self.random.randrange(256) for _ in range(length))
            elif action == 4:
                data[at:at] = data[at:at + length]
            elif action == 5:
                del data[at:]
            else:
                number = self.random.choice(NUMBERS[:14])
                data[at:at + 8] = (int(number) % 2**64).to_bytes(8, "little")
        return bytes(data)

    def header(self, name, data):
        length = int.from_bytes(data[:8], "little")
        header = self.json_text(data[8:8 + length])
        changed = struct.pack("<Q", len(header)) + header + data[8 + length:]
        return self.signed(changed) if name == "certificate" and self.random.random() < 0.8 else changed

    @staticmethod
    def signed(data):
        """With the digest that a certificate of these bytes has, if it has any."""
        place = data.find(b'"digest":"')
        if place < 0:
            return data
        zeroed = data[:place + 10] + b"0" * 64 + data[place + 74:]
        return data[:place + 10] + hashlib.sha256(zeroed).hexdigest().encode() + data[place + 74:]

    def json_text(self, text):
        try:
            tree = json.loads(text)
        except (UnicodeDecodeError, json.JSONDecodeError):
            return self.bytes(text)
        for _ in range(self.random.choice((1, 1, 2, 3))):
            tree = self.node(tree)
        changed = json.dumps(tree, separators=(",", ":")).encode()
        if self.random.random() < 0.05:
            changed = changed.replace(b"1", self.random.choice((b"1e999", b"NaN", b"01", b"1.", b'"')), 1)
        if self.random.random() < 0.05:
            changed += self.random.choice((b"\0", b"{}", b" x", b"\n\n", b"\xff"))
        return changed

    def node(self, tree):
        """One place of the tree changed."""
        if isinstance(tree, dict) and tree and self.random.random() < 0.9:
            key = self.random.choice(list(tree))
            action = self.random.random()
            if action < 0.1:
                return {other: value for other, value in tree.items() if other != key}
            if action < 0.2:
                return {**tree, self.random.choice(("", "x" * 3000, key + "\n", "../" + key, *tree)): tree[key]}
            return {**tree, key: self.node(tree[key])}
        if isinstance(tree, list) and tree and self.random.random() < 0.9:
            at = self.random.randrange(len(tree))
            action = self.random.random()
            if action < 0.1:
                return tree[:at] + tree[at + 1:]
            if action < 0.2:
                return tree + [tree[at]] * self.random.choice((1, 70))
            return [*tree[:at], self.node(tree[at]), *tree[at + 1:]]
        if isinstance(tree, (int, float)) and not isinstance(tree, bool) and self.random.random() < 0.5:
            return tree + self.random.choice((1, -1, 2, 8, -8))
        return self.random.choice(VALUES)


class Runner:
    """Works in the current folder."""

    def __init__(self, attnsym, tally):
        self.attnsym, self.tally, self.current = attnsym, tally, None

    def run(self, case, name, data):
        if self.current is not case:
            for left in Path(".").iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            for other, genuine in case.files.items():
                Path(other).parent.mkdir(parents=True, exist_ok=True)
                Path(other).write_bytes(genuine)
            self.current = case
            self.expected = {*case.files, "stdout", "stderr"}
        Path(name).write_bytes(data)
        status, seconds, memory = self.call(case)
        bad = self.complaint(case, status, seconds, memory, len(data))
        self.tally.count(case.name, status)
        if bad:
            self.tally.keep(case, name, data, bad)
            self.current = None
        Path(name).write_bytes(case.files[name])

    def call(self, case):
        environment = {"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"}
        to_file = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        begin = time.monotonic()
        threads = [] if case.call[0] == "explain" else ["--threads", "1"]
        process = os.posix_spawn(self.attnsym, [self.attnsym, *case.call, *threads], environment, file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, "stdout", to_file, 0o600), (os.POSIX_SPAWN_OPEN, 2, "stderr", to_file, 0o600)])
        signal.signal(signal.SIGALRM, lambda *_: kill(process))
        signal.alarm(SECONDS)
        _, status, usage = os.wait4(process, 0)
        signal.alarm(0)
        return os.waitstatus_to_exitcode(status), time.monotonic() - begin, usage.ru_maxrss << 10

    def complaint(self, case, status, seconds, memory, size):
        out, err = (Path(name).read_bytes() for name in ("stdout", "stderr"))
        if status not in (0, 1, 2, 3):
            return f"exit status {status} after {seconds:.1f} s"
        if memory > 2 * (case.size + size) + SPARE_BYTES:
            return f"{memory >> 20} MB of memory"
        if status == 2 and not err:
            return "trouble without a word"
        if any(byte < 32 and byte not in b"\t\n" or byte == 127 for byte in (err if "--json" in case.call else err + out)):
            return "control characters are printed"
        if status != 2 and "--json" in case.call and not is_json(out):
            return "the output is no JSON"
        written = Path("OUT").is_dir()
        if written != (status == 0) and "OUT" in case.call:
            return f"OUT is {'' if written else 'not '}there after exit status {status}"
        shutil.rmtree("OUT", ignore_errors=True)
        found = {path.relative_to(".").as_posix() for path in Path(".").rglob("*") if path.is_file()}
        return f"left behind: {found ^ self.expected}" if found != self.expected else None


def kill(process):
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(process, signal.SIGKILL)


def is_json(text):
    try:
        json.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return False
    return True


class Tally:
    def __init__(self, path):
        self.path = Path(path)
        self.data = json.loads(self.path.read_text()) if self.path.exists() else {"runs": 0, "statuses": {}, "bad": []}

    def count(self, case, status):
        self.data["runs"] += 1
        statuses = self.data["statuses"].setdefault(case, {})
        statuses[str(status)] = statuses.get(str(status), 0) + 1

    def keep(self, case, name, data, why):
        print(f"bad: {case.name}, {name} changed: {why}", flush=True)
        self.data["bad"].append({"case": case.name, "file": name, "why": why, "data": base64.b64encode(data).decode()})

    def save(self):
        partial = self.path.with_suffix(".part")
        partial.write_text(json.dumps(self.data, indent=1))
        partial.replace(self.path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attnsym", type=Path)
    parser.add_argument("--resume", required=True, type=Path, metavar="FILE")
    parser.add_argument("--count", type=int, default=1000000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="/dev/shm")
    options = parser.parse_args()
    attnsym, tally = str(options.attnsym.resolve()), Tally(options.resume.resolve())
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        cases = list(Cases(attnsym, Path(folder) / "genuine").all())
        (Path(folder) / "run").mkdir()
        os.chdir(Path(folder) / "run")
        runner = Runner(attnsym, tally)
        while tally.data["runs"] < options.count:
            generator = random.Random(f"{options.seed} {tally.data['runs']}")
            mutator, case = Mutator(generator), generator.choice(cases)
            for _ in range(min(500, options.count - tally.data["runs"])):
                name = generator.choice(list(case.files))
                runner.run(case, name, mutator(name, case.files[name]))
            tally.save()
        os.chdir("/")
    total = collections.Counter()
    for statuses in tally.data["statuses"].values():
        total.update(statuses)
    print(f"{tally.data['runs']} runs, {len(tally.data['bad'])} bad; exit statuses {dict(sorted(total.items()))}")
    return 1 if tally.data["bad"] else 0


if __name__ == "__main__":
    sys.exit(main())
