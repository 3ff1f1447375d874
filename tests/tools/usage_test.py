#!/usr/bin/python3
"""What the command answers to every kind of call: usage_test.py ATTNSYM

One row per call: the command line, the exit status, and what has to be found on standard output or, for trouble, on
standard error. The rows of a table run in order in one directory, whose models (A, MOVED, ...) nothing may write to.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

from tiny_model import TinyModel

ATTNSYM = ""
LLAMA = Path(__file__).resolve().parents[2] / "models" / "tiny-llama"

YES, NO, TROUBLE, UNDECIDED = 0, 1, 2, 3

USAGE = [
    ("", TROUBLE, "subcommand is required"),
    ("--help", YES, "Exit status: 0 yes or done, 1 no, 2 trouble"),
    ("--version", YES, r"\A\d+\.\d+\.\d+\n\Z"),
    ("check --help", YES, "Exit status"),
    ("certify --help", YES, "Exit status"),
    ("canonicalize --help", YES, "--output"),
    ("act --help", YES, "--condition"),
    ("explain --help", YES, "MODEL"),
    ("nfn --help", YES, "train.*\n.*predict.*\n.*eval"),
    ("nfn train --help", YES, r"block0\.Q.*\[h,D,Dk\](.|\n)*--resume"),
    ("frobnicate", TROUBLE, "."),
    ("check --frobnicate A A", TROUBLE, "--frobnicate"),
    ("check", TROUBLE, "A is required"),
    ("check A", TROUBLE, "B is required"),
    ("check A A A", TROUBLE, "."),
    ("check A A check A A", TROUBLE, "."),
    ("certify same.cert A", TROUBLE, "B is required"),
    ("canonicalize A", TROUBLE, "--output is required"),
    ("act A -o", TROUBLE, "--output"),
    ("explain", TROUBLE, "MODEL is required"),
    ("check --scope models A A", TROUBLE, "--scope"),
    ("check A A --outputs probabilities", TROUBLE, "--outputs needs --scope model"),
    ("check A A --scope model --exact", TROUBLE, "--exact is about attention modules"),
    ("check A A --scope model --witness new", TROUBLE, "--witness is about attention modules"),
    ("act A -o new --only neurons", TROUBLE, "--only neurons needs --scope model"),
    ("act A -o new --scope model --exact", TROUBLE, "--exact is about attention modules"),
    ("canonicalize A -o new --scope mlp --certificate new", TROUBLE, "--certificate is about attention modules"),
    ("canonicalize A -o new --scope head", TROUBLE, "--scope"),
    ("check --threads 0 A A", TROUBLE, "--threads"),
    ("check --seed first A A", TROUBLE, "--seed"),
    ("act A -o new --only heads,tails", TROUBLE, "--only"),
    ("act A -o new --condition 0.5", TROUBLE, "--condition"),
    ("act A -o new --dtype I8", TROUBLE, "--dtype"),
]

FILES = [
    ("check A missing", TROUBLE, "missing"),
    ("check missing A", TROUBLE, "missing"),
    ("check A EMPTY", TROUBLE, "EMPTY/config.json"),
    ("check A TRUNCATED", TROUBLE, "TRUNCATED/model.safetensors"),
    ("check A NOT_JSON", TROUBLE, "NOT_JSON/config.json"),
    ("check A UNKNOWN", TROUBLE, "clippy"),
    ("check A A/model.safetensors", TROUBLE, "--config"),
    ("check A A/vocab.txt --config A/config.json", TROUBLE, "A/vocab.txt"),
    ("check A WIDE", NO, r"\Adistinct: A has 8 numbers per token, B has 10"),
    ("check A SHALLOW", NO, r"\Adistinct: A has 2 attention layers, B has 1"),
    ("explain missing", TROUBLE, "missing"),
    ("explain TRUNCATED", TROUBLE, "TRUNCATED/model.safetensors"),
    ("act missing -o new", TROUBLE, "missing"),
    ("canonicalize TRUNCATED -o new", TROUBLE, "TRUNCATED/model.safetensors"),
    ("act HUGE -o new --dtype F16", TROUBLE, r"overflow|too large|range"),
    ("act A -o new --exact --dtype F16", TROUBLE, r"A/model.safetensors: tensor '.*weight'.* rounded in dtype F16"),
    ("certify missing A MOVED", TROUBLE, "missing"),
    ("certify A A MOVED", TROUBLE, "A"),
    ("certify A/vocab.txt A MOVED", TROUBLE, "A/vocab.txt"),
    ("certify A/model.safetensors A MOVED", TROUBLE, "A/model.safetensors"),
    ("certify same.cert A missing", TROUBLE, "missing"),
]

ANSWERS = [
    ("check A A", YES, r"\Aidentical: "),
    ("check A MOVED", YES, r"\Aequivalent: "),
    ("check A OTHER", NO, r"\Adistinct: "),
    ("check A COARSE", UNDECIDED, r"\Aundecided: "),
    ("check A/model.safetensors MOVED/model.safetensors --config A/config.json", YES, r"\Aequivalent: "),
    ("check A MOVED --threads 1 --seed 5 --scope attention", YES, r"seed +5"),
    ("certify same.cert A MOVED", YES, r"\Aaccepted: "),
    ("certify same.cert A OTHER", NO, r"\Arejected: "),
    ("certify same.cert MOVED A", NO, r"\Arejected: "),
    ("explain A", YES, "GL"),
    ("explain A --measure", YES, r"measured +64 dimensions .*\(D 6, 2 heads, key width 4, value width 3\), predicted 64;"),
    ("explain MIXED", YES, r"window +in \d+ of \d+ layers"),
    ("explain LLAMA --measure", YES, r"measured +26 dimensions .*\(D 6, 4 heads in 2 groups, key width 4, value width 3\), "
                                     r"predicted 26; singular values \de-0[1-4] / \de-1[4-8]\n"),
    ("explain BLIND --measure", NO, r"predicted 26; .*\nno +measured and predicted differ"),
    ("act A -o acted --seed 3", YES, "seed 3"),
    ("canonicalize A -o canonical", YES, "canonical"),
    ("check A acted", YES, r"\Aequivalent: "),
    ("check A canonical", YES, r"\Aequivalent: "),
    ("act HALF -o exact --exact --condition 1e6", YES, "exact"),
    ("check HALF exact", YES, r"\Aidentical: "),
    ("check A A --exact", YES, r"\Aidentical: "),
    ("check A MOVED --exact --seed 9", NO, r"\Adistinct: .*stored numbers"),
    ("check A MOVED --ladder", YES, r"100 digits +residual"),
    ("check A MOVED --explain", YES, r"explanation\nno layer differs by more than rounding"),
    ("check A OTHER --explain", NO, r"explanation\n.*no slip that this program knows(.|\n)*query\.weight: "),
    ("check A OTHER --explain --exact", TROUBLE, "--explain"),
    ("check A A --scope model", TROUBLE, r"A: tensor '.*' is missing"),
    ("check LLAMA LLAMA --scope model", YES, r"\Aidentical: (.|\n)*scope   the whole model, logits"),
    ("act LLAMA -o acted-llama --scope model", YES, "group  stream"),
    ("check LLAMA acted-llama --scope model --certificate llama.cert", YES, "certificate  llama.cert"),
    ("certify llama.cert LLAMA acted-llama", YES, r"\Aaccepted: the two models are equivalent as a whole"),
    ("certify llama.cert acted-llama LLAMA", NO, r"\Arejected: .*SHA-256"),
    ("check LLAMA BLIND --scope model --certificate blind.cert", NO, r"\Adistinct: (.|\n)*tokens  \d"),
    ("check LLAMA BLIND --scope model --explain", NO, r"\nexplanation\n"),
    ("check LLAMA LLAMA --scope model --explain", YES, r"\nexplanation\nno part differs by more than rounding\n"),
    ("certify blind.cert LLAMA BLIND", YES, r"\Aaccepted: the two models are distinct as a whole"),
    ("check LLAMA acted-llama --scope model --threads 1", YES, r"\Aequivalent: (.|\n)*stream  a signed permutation"),
    ("check LLAMA acted-llama", NO, r"\Adistinct: "),
    ("act LLAMA -o neurons --scope model --only neurons", YES, "group  stream"),
    ("check LLAMA neurons", YES, r"\Aidentical: "),
    ("canonicalize LLAMA -o form --scope model", YES, r"kept +gains stay in place: embeddings are tied"),
    ("canonicalize acted-llama -o form-of-acted --scope model", YES, "whole model"),
    ("check form form-of-acted --scope model", YES, r"\Aequivalent: (.|\n)*stream  the identity"),
    ("canonicalize LLAMA -o mlps --scope mlp", YES, "all MLPs"),
    ("check LLAMA mlps --scope model", YES, r"\Aequivalent: "),
]

WRITING = [
    ("act A -o acted", YES, "acted"),
    ("act A -o acted", TROUBLE, "--force"),
    ("canonicalize A -o acted", TROUBLE, "--force"),
    ("act A -o acted --force", YES, "acted"),
    ("act A -o nowhere/new", TROUBLE, "nowhere"),
    ("act A -o A", TROUBLE, "A"),
    ("act A -o A --force", TROUBLE, "A"),
    ("act A -o A/new", TROUBLE, "A"),
    ("act A -o . --force", TROUBLE, r"\."),
    ("act A -o new --certificate same.cert", TROUBLE, "--force"),
    ("check A MOVED --certificate written.cert", YES, "written.cert"),
    ("check A MOVED --certificate written.cert", TROUBLE, "--force"),
    ("check A MOVED --certificate written.cert --force", YES, "written.cert"),
    ("check A MOVED --certificate nowhere/new.cert", TROUBLE, "nowhere"),
    ("check A OTHER --certificate no.cert --witness no.witness", NO, "no.witness"),
    ("certify no.cert A OTHER", YES, r"\Aaccepted: "),
    ("check A OTHER --witness no.witness", TROUBLE, "--force"),
    ("check A MOVED --exact --certificate exact.cert", NO, "exact.cert"),
    ("certify exact.cert A MOVED", YES, r"\Aaccepted: "),
    ("check A A --exact --certificate equal.cert", YES, "equal.cert"),
    ("certify equal.cert A A", YES, r"\Aaccepted: "),
]

# --force replaces old evidence, not what the evidence is about, and not a directory.
EVIDENCE_IN_THE_WAY = [
    ("act A -o new --certificate A/model.safetensors --force", TROUBLE, "A/model.safetensors"),
    ("canonicalize A -o new --certificate A/config.json --force", TROUBLE, "A/config.json"),
    ("check A MOVED --certificate A/model.safetensors --force", TROUBLE, "A/model.safetensors"),
    ("check A OTHER --witness OTHER/config.json --force", TROUBLE, "OTHER/config.json"),
    ("check A MOVED --certificate EMPTY --force", TROUBLE, "EMPTY"),
]

# The command line, the exit status, and the schema of the one object on standard output.
JSON = [
    ("check A A --json", YES, "attnsym.check/1"),
    ("check A MOVED --exact --ladder --json", NO, "attnsym.check/1"),
    ("check A MOVED --json --certificate json.cert", YES, "attnsym.check/1"),
    ("check A OTHER --json", NO, "attnsym.check/1"),
    ("check A OTHER --explain --json", NO, "attnsym.check/1"),
    ("check LLAMA LLAMA --scope model --json", YES, "attnsym.check/1"),
    ("check LLAMA BLIND --scope model --json", NO, "attnsym.check/1"),
    ("act LLAMA -o acted-llama-json --scope model --json", YES, "attnsym.act/1"),
    ("canonicalize LLAMA -o form-json --scope model --json", YES, "attnsym.canonicalize/1"),
    ("check A COARSE --json", UNDECIDED, "attnsym.check/1"),
    ("certify same.cert A MOVED --json", YES, "attnsym.certify/1"),
    ("certify same.cert A OTHER --json", NO, "attnsym.certify/1"),
    ("act A -o acted-json --json", YES, "attnsym.act/1"),
    ("canonicalize A -o canonical-json --json", YES, "attnsym.canonicalize/1"),
    ("explain A --json", YES, "attnsym.explain/1"),
    ("explain LLAMA --measure --json", YES, "attnsym.explain/1"),
    ("explain BLIND --measure --json", NO, "attnsym.explain/1"),
]


def edit_config(model, **changes):
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class Usage(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        self.make_fixtures()
        self.fixtures = [path.name for path in self.root.iterdir()]
        self.before = self.snapshot()

    def make_fixtures(self):
        models = {"A": TinyModel(), "OTHER": TinyModel(seed=2), "WIDE": TinyModel(width=10), "SHALLOW": TinyModel(layers=1),
                  "HUGE": TinyModel(largest=1e6), "UNKNOWN": TinyModel(model_type="clippy"),
                  "TRUNCATED": TinyModel(), "NOT_JSON": TinyModel()}
        for name, model in models.items():
            model.write(self.root / name)
        os.truncate(self.root / "TRUNCATED" / "model.safetensors", 3000)
        (self.root / "NOT_JSON" / "config.json").write_text("{")
        shutil.copytree(LLAMA, self.root / "LLAMA")
        shutil.copytree(LLAMA, self.root / "BLIND")  # a token sees itself only: more changes nothing than the group knows
        edit_config(self.root / "BLIND", model_type="mistral", sliding_window=1, architectures=["MistralForCausalLM"])
        shutil.copytree(LLAMA, self.root / "MIXED")  # windows in every other layer
        edit_config(self.root / "MIXED", model_type="gemma2", sliding_window=8)
        (self.root / "EMPTY").mkdir()
        for line in ("act A -o MOVED", "act A -o HALF --dtype F16 --only heads", "act A -o COARSE --dtype BF16 --condition 1e5",
                     "check A MOVED --certificate same.cert"):
            done = self.call(line)
            self.assertEqual(YES, done.returncode, done.stderr)

    def call(self, line, **options):
        return subprocess.run([ATTNSYM, *shlex.split(line)], cwd=self.root, text=True, timeout=60,
                              **{"capture_output": True, **options})

    def snapshot(self):
        """Contents and times of all fixtures."""
        paths = [path for name in self.fixtures for path in (self.root / name, *(self.root / name).rglob("*"))]
        return {path: (path.stat().st_mtime_ns, path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest())
                for path in paths if path.exists()}

    def assert_answers(self, rows):
        for line, status, pattern in rows:
            with self.subTest(line=line):
                done = self.call(line)
                said = f"\nstdout: {done.stdout}\nstderr: {done.stderr}"
                self.assertEqual(status, done.returncode, said)
                self.assertRegex(done.stderr if status == TROUBLE else done.stdout, pattern, said)
                if status == TROUBLE:
                    self.assertEqual("", done.stdout)
                else:
                    self.assertEqual("", done.stderr)
                self.assertNotIn("\033", done.stdout + done.stderr, "control characters without a terminal")
            self.assert_fixtures_untouched(line)

    def assert_fixtures_untouched(self, line):
        after = self.snapshot()
        if after != self.before:
            changed = [path.name for path in self.before.keys() | after.keys() if self.before.get(path) != after.get(path)]
            self.fail(f"attnsym {line} wrote to {', '.join(changed)}")

    def test_usage(self):
        self.assert_answers(USAGE)

    def test_files(self):
        self.assert_answers(FILES)
        self.assertFalse((self.root / "new").exists(), "a failed command left its output")

    def test_answers(self):
        self.assert_answers(ANSWERS)

    def test_writing(self):
        self.assert_answers(WRITING)
        self.assertEqual([], [path.name for path in self.root.rglob("*") if "partial" in path.name])

    def test_evidence_replaces_neither_an_input_nor_a_directory(self):
        self.assert_answers(EVIDENCE_IN_THE_WAY)

    def test_one_json_object_and_nothing_else(self):
        for line, status, schema in JSON:
            with self.subTest(line=line):
                done = self.call(line)
                self.assertEqual(status, done.returncode, done.stderr)
                self.assertEqual("", done.stderr)
                self.assertEqual(schema, json.loads(done.stdout, parse_constant=self.fail)["schema"])

    def test_trouble_is_json_too_where_json_was_asked_for(self):
        for line in ("check A absent --json", "check A --json", "certify absent A A --json", "explain TRUNCATED --json",
                     "chek A A --json", "layout clippy --json"):
            with self.subTest(line=line):
                done = self.call(line)
                self.assertEqual(TROUBLE, done.returncode)
                said = json.loads(done.stdout)
                self.assertEqual({"schema", "trouble"}, said.keys())
                self.assertEqual("attnsym.trouble/1", said["schema"])
                self.assertEqual(f"attnsym: {said['trouble']}\n", done.stderr)

    def test_layouts_in_json(self):
        names = json.loads(self.call("layout --json").stdout)["families"]
        self.assertEqual(self.call("layout").stdout.split(), names)
        tables = json.loads(self.call("layout llama --json").stdout)["tables"]
        self.assertEqual([json.loads(self.call("layout llama").stdout)], tables)

    def test_certificates_are_named_in_json_at_both_scopes(self):
        for scope in ("attention", "model"):
            done = self.call(f"check LLAMA LLAMA --scope {scope} --json --certificate {scope}.cert")
            self.assertEqual(YES, done.returncode, done.stderr)
            self.assertEqual(f"{scope}.cert", json.loads(done.stdout)["certificate"])
            done = self.call(f"check LLAMA LLAMA --scope {scope} --json")
            self.assertIsNone(json.loads(done.stdout)["certificate"])

    def test_explain_says_nothing_before_it_knows_all(self):
        shutil.copytree(self.root / "A", self.root / "BROKEN")
        weights = self.root / "BROKEN" / "model.safetensors"
        name = b"encoder.layer.1.attention.output.dense.weight"
        weights.write_bytes(weights.read_bytes().replace(name, name.replace(b"dense", b"dance")))
        done = self.call("explain BROKEN")
        self.assertEqual((TROUBLE, ""), (done.returncode, done.stdout))
        self.assertIn("layer.1.attention.output.dense.weight", done.stderr)

    def test_measured_dimension_in_json(self):
        measured = json.loads(self.call("explain LLAMA --measure --json").stdout)["measured"]
        self.assertEqual((26, 26), (measured["dimension"], measured["predicted"]))
        self.assertGreater(measured["smallest_kept"], 1e9 * measured["largest_dropped"])
        self.assertNotIn("measured", json.loads(self.call("explain LLAMA --json").stdout))

    def test_output_that_cannot_be_written_is_trouble(self):
        with open("/dev/full", "w") as full:
            done = self.call("check A A", capture_output=False, stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(TROUBLE, done.returncode)
        self.assertRegex(done.stderr, "standard output")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    ATTNSYM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
