#!/usr/bin/python3
"""What has to be shown on a real quantised file: quantized_model.py ATTNSYM FILE.gguf. Standard library only.

SmolLM2-135M as Q4_1: explained, written in canonical form as safetensors, checked and certified against the file.
"""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ATTNSYM, MODEL = "", ""


def run(*arguments):
    return subprocess.run([ATTNSYM, *map(str, arguments)], capture_output=True, text=True, timeout=600)


class QuantizedModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.out = Path(cls.folder.name) / "canonical"
        cls.certificate = Path(cls.folder.name) / "canonical.cert"
        cls.written = run("canonicalize", MODEL, "-o", cls.out, "--certificate", cls.certificate)

    def test_explain(self):
        said = run("explain", MODEL).stdout
        self.assertIn("family      llama, 30 attention layers", said)
        self.assertIn("stored      GGUF, attention in Q4_1; rotary pairs are interleaved", said)
        self.assertIn("9 heads in 3 groups, key width 64", said)

    def test_the_canonical_form_is_the_same_attention(self):
        self.assertEqual(self.written.returncode, 0, self.written.stderr)
        checked = run("check", MODEL, self.out)
        self.assertTrue(checked.stdout.startswith("equivalent: "), checked.stdout + checked.stderr)
        certified = run("certify", self.certificate, MODEL, self.out)
        self.assertTrue(certified.stdout.startswith("accepted: "), certified.stdout + certified.stderr)

    def test_the_canonical_form_is_the_same_model(self):
        whole = Path(self.folder.name) / "whole"
        written = run("canonicalize", MODEL, "-o", whole, "--scope", "model")
        self.assertEqual(written.returncode, 0, written.stderr)
        for model in (self.out, whole):
            checked = run("check", MODEL, model, "--scope", "model")
            self.assertTrue(checked.stdout.startswith("equivalent: "), checked.stdout + checked.stderr)


if __name__ == "__main__":
    ATTNSYM, MODEL = sys.argv[1:3]
    del sys.argv[1:3]
    unittest.main()
