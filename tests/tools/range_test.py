#!/usr/bin/python3
"""Numbers that are too small or too large for a format: range_test.py ATTNSYM. Needs NumPy.

A model against its own conversion to a format that cannot hold all of it is never `distinct`, and what is rewritten
computes the same or is refused.
"""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "acceptance"))

import family_fixtures
import numpy as np
import safetensors_numpy
from tiny_model import TinyModel

ATTNSYM = ""
YES, NO, TROUBLE, UNDECIDED = 0, 1, 2, 3
SCOPES = ("attention", "model")

# The ends of names of tensors, by what they do.
PARTS = {
    "query": ("q_proj.weight", "query.weight"),
    "value": ("v_proj.weight", "value.weight"),
    "out": ("o_proj.weight", "attention.output.dense.weight"),
    "up": ("up_proj.weight", "intermediate.dense.weight"),
    "down": ("down_proj.weight", "0.output.dense.weight"),
    "embedding": ("embed_tokens.weight", "word_embeddings.weight"),
    "norm": ("layernorm.weight", "LayerNorm.weight"),
}


def run(*arguments):
    return subprocess.run([ATTNSYM, *map(str, arguments)], capture_output=True, text=True, timeout=300)


class Ranges(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.count = 0

    def model(self, family, change, dtype="F32"):
        self.count += 1
        model = self.folder / f"model{self.count}"
        family_fixtures.make(family, model, dtype, 3, {})
        tensors = safetensors_numpy.read(model / "model.safetensors")
        for name in tensors.stored:
            tensors.store(name, change(name, tensors.numbers(name).copy()))
        safetensors_numpy.write(model / "model.safetensors", tensors)
        return model

    def converted(self, model, dtype):
        copy = self.folder / f"{model.name}-{dtype}"
        copy.mkdir()
        (copy / "config.json").write_bytes((model / "config.json").read_bytes())
        tensors = safetensors_numpy.read(model / "model.safetensors")
        for name in tensors.stored:
            tensors.store(name, tensors.numbers(name), dtype)
        safetensors_numpy.write(copy / "model.safetensors", tensors)
        return copy

    def test_a_conversion_is_never_distinct(self):
        seen = set()
        for family in ("llama", "bert"):
            for part, ends in PARTS.items():
                for size in (1e-8, 1e-20):
                    def shrink(name, values, ends=ends, part=part, size=size):
                        if not name.endswith(ends):
                            return values
                        if part in ("down", "out"):
                            values[:, :4] *= size
                        elif part == "norm":
                            values *= size
                        else:
                            values[:4] *= size
                        return values

                    model = self.model(family, shrink)
                    half = self.converted(model, "F16")
                    for scope in SCOPES:
                        with self.subTest(family=family, part=part, size=size, scope=scope):
                            done = run("check", model, half, "--scope", scope)
                            self.assertIn(done.returncode, (YES, UNDECIDED), done.stdout + done.stderr)
                            seen.add(done.returncode)
        self.assertEqual({YES, UNDECIDED}, seen)

    def test_an_edit_beside_underflowed_zeros_is_seen(self):
        def shrink(name, values):
            if name.endswith(PARTS["query"]):
                values[:4] *= 1e-20
            return values

        def edit(name, values):
            values = shrink(name, values)
            if name.endswith(PARTS["value"]):
                values[1, 1] += 0.5
            return values

        model, other = self.model("bert", shrink), self.converted(self.model("bert", edit), "F16")
        for scope in SCOPES:
            self.assertEqual(NO, run("check", model, other, "--scope", scope).returncode)

    def test_what_would_leave_the_range_is_not_written(self):
        def small_gains(name, values):
            return values * 1e-5 if name.endswith(("layernorm.weight", "norm.weight")) else values

        model = self.model("llama", small_gains, "F16")
        out = self.folder / "out"
        done = run("canonicalize", model, "-o", out, "--scope", "model")
        self.assertEqual(TROUBLE, done.returncode, done.stdout)
        self.assertRegex(done.stderr, "model.safetensors: tensor '.*': .*too small for dtype F16")
        self.assertFalse(out.exists())
        done = run("canonicalize", model, "-o", out, "--scope", "model", "--dtype", "F32")
        self.assertEqual(YES, done.returncode, done.stderr)
        self.assertNotEqual(NO, run("check", model, out, "--scope", "model").returncode)

    def test_what_wild_gauges_write_is_not_distinct(self):
        model = self.model("bert", lambda name, values: values, "F16")
        for condition in (1e3, 1e6, 1e9, 1e12):
            out = self.folder / f"moved{condition}"
            if run("act", model, "-o", out, "--condition", condition).returncode == YES:
                self.assertNotEqual(NO, run("check", model, out).returncode)

    def test_verify_refuses_what_is_not_shown_to_be_the_same(self):
        model = self.model("llama", lambda name, values: values)
        out = self.folder / "out"
        done = run("act", model, "-o", out, "--verify", "--dtype", "BF16", "--condition", "1e9")
        self.assertEqual(TROUBLE, done.returncode, done.stdout)
        self.assertIn("out: not written, because", done.stderr)
        self.assertFalse(out.exists())
        for command in ("act", "canonicalize"):
            for scope in SCOPES:
                done = run(command, model, "-o", self.folder / (command + scope), "--scope", scope, "--verify")
                self.assertEqual(YES, done.returncode, done.stderr)

    def test_numbers_beyond_fourth_powers_are_not_rewritten(self):
        for size in (1e-150, 1e-100, 1e100, 1e150):
            for rows in (slice(0, 4), slice(0, 8)):
                self.count += 1
                model, out = self.folder / f"sized{self.count}", self.folder / f"out{self.count}"
                TinyModel().write(model)
                tensors = safetensors_numpy.read(model / "model.safetensors")
                for name in tensors.stored:
                    values = tensors.numbers(name)
                    if name.endswith(("query.weight", "value.weight")):
                        values[rows] *= size
                    tensors.store(name, values, "F64")
                safetensors_numpy.write(model / "model.safetensors", tensors)
                for command in ("act", "canonicalize"):
                    done = run(command, model, "-o", out)
                    self.assertEqual(TROUBLE, done.returncode, done.stdout)
                    self.assertRegex(done.stderr, r"query.weight|value.weight")
                    self.assertFalse(out.exists())
                self.assertEqual(YES, run("check", model, model).returncode)


if __name__ == "__main__":
    ATTNSYM = sys.argv.pop(1)
    unittest.main()
