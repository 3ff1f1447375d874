#!/usr/bin/python3
"""What the command makes of GGUF and llama2.c files: conversions_test.py ATTNSYM. Needs NumPy.

The files are written here, by NumPy, from Hugging Face directories, as the converters of llama.cpp and llama2.c do.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "acceptance"))

import family_fixtures
import gguf_numpy
import numpy as np
import safetensors_numpy

ATTNSYM = ""
LLAMA = ROOT / "models" / "tiny-llama"
STORIES = ROOT.parent / "shared" / "data" / "stories260K"

YES, NO, TROUBLE, UNDECIDED = 0, 1, 2, 3

# What a GGUF file has no key for is set to what llama.cpp takes for granted.
FIXTURES = {
    "gpt2": {"scale_attn_by_inverse_layer_idx": False},
    "llama": {},
    "llama-scaled": {"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                                      "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}},
    "qwen2": {}, "qwen3": {}, "gemma": {}, "gemma2": {"query_pre_attn_scalar": 16},
}
FLOATS, QUANTIZED = ("F32", "F16", "BF16"), ("Q8_0", "Q4_0", "Q4_1")


def run(*arguments):
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run([ATTNSYM, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=300)


def dequantized(name, values, kind):
    return gguf_numpy.decoded(values, kind) if values.ndim == 2 else values


class Conversions(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def path(self, name):
        return self.folder / name

    def expect(self, status, pattern, *arguments):
        done = run(*arguments)
        said = done.stderr if status == TROUBLE else done.stdout
        self.assertEqual(done.returncode, status, f"{arguments}\n{done.stdout}{done.stderr}")
        self.assertRegex(said, pattern, arguments)
        return said

    def fixture(self, name):
        directory = self.path(name)
        family_fixtures.FIXTURES[name].update(FIXTURES[name])
        family_fixtures.make(name, directory)
        return directory

    def edited(self, source, edit):
        """A copy of a directory, every tensor of attention weights changed by edit(name, float32 values)."""
        target = Path(tempfile.mkdtemp(dir=self.folder)) / "edited"
        shutil.copytree(source, target)
        target.chmod(0o755)
        tensors = safetensors_numpy.read(target / "model.safetensors")
        for name in list(tensors.stored):
            tensors.store(name, edit(name, tensors.numbers(name).astype(np.float32)), "F32")
        (target / "model.safetensors").unlink()
        safetensors_numpy.write(target / "model.safetensors", tensors)
        return target

    def test_a_conversion_of_every_architecture_is_identical_to_its_source(self):
        for name in FIXTURES:
            with self.subTest(name):
                source, file = self.fixture(name), self.path(name + ".gguf")
                gguf_numpy.convert(source, file)
                self.expect(YES, r"\Aidentical: ", "check", source, file)
                self.expect(YES, r"\Aidentical: ", "check", file, source, "--exact")

    def test_the_canonical_form_of_a_conversion_is_a_directory_of_the_same_model(self):
        for name in FIXTURES:
            with self.subTest(name):
                source, file, out = self.fixture(name), self.path(name + ".gguf"), self.path(name + "-out")
                gguf_numpy.convert(source, file)
                self.expect(YES, "canonical form", "canonicalize", file, "-o", out, "--certificate", self.path(name + ".cert"))
                self.expect(YES, r"\Aaccepted: ", "certify", self.path(name + ".cert"), file, out)
                self.expect(YES, r"\Aequivalent: ", "check", source, out)
                self.expect(YES, r"\Aequivalent: ", "check", file, out)
                self.expect_same_rest(source, out)
                self.expect_same_config(source, out)

    # What is not attention, in layout and in every bit; but for the gains that the converter added one to.
    def expect_same_rest(self, source, out):
        _, theirs = gguf_numpy.load(source)
        _, ours = gguf_numpy.load(out)
        buffers = {name for name in theirs if re.search(r"\.attn\.(masked_)?bias$", name)}
        self.assertEqual(set(ours), set(theirs) - buffers)
        for name, values in ours.items():
            self.assertEqual(values.shape, theirs[name].shape, name)
            if "attn" in name:
                continue
            tolerance = 1e-7 if "gemma" in str(source) and "norm" in name else 0
            np.testing.assert_allclose(values, theirs[name], rtol=0, atol=tolerance, err_msg=name)

    def expect_same_config(self, source, out):
        theirs, ours = (json.loads((path / "config.json").read_text()) for path in (source, out))
        for key in set(theirs) & set(ours) - {"rope_scaling"}:
            self.assertEqual(ours[key], theirs[key], key)
        self.assertEqual(ours.get("rope_scaling"), theirs.get("rope_scaling"))

    def test_an_element_acts_on_a_conversion(self):
        file, out = self.path("llama.gguf"), self.path("out")
        gguf_numpy.convert(LLAMA, file, "Q8_0")
        self.expect(YES, "seed 3", "act", file, "-o", out, "--seed", 3, "--certificate", self.path("act.cert"))
        self.expect(YES, r"\Aequivalent: ", "check", file, out)
        self.expect(YES, r"\Aaccepted: ", "certify", self.path("act.cert"), file, out)
        self.expect(YES, "exact|seed", "act", file, "-o", self.path("exact"), "--exact")
        self.expect(YES, r"\Aidentical: ", "check", file, self.path("exact"))

    def test_decoded_numbers_are_those_of_llama_cpp(self):
        for kind in FLOATS + QUANTIZED:
            with self.subTest(kind):
                file, out = self.path(kind + ".gguf"), self.path(kind)
                gguf_numpy.convert(LLAMA, file, kind)
                # Rows of queries and keys are quantised as they are, so that their order does not matter.
                decoded = self.edited(LLAMA, lambda name, values: dequantized(name, values, kind))
                self.expect(YES, r"\Aidentical: ", "check", file, decoded)
                self.expect(YES, ".", "act", file, "-o", out, "--only", "vo")
                rest, theirs = gguf_numpy.load(out)[1], gguf_numpy.load(decoded)[1]
                for name in rest:
                    if "self_attn" not in name:
                        np.testing.assert_array_equal(rest[name], theirs[name], name)

    def test_quantisation_is_rounding_block_by_block(self):
        for kind in FLOATS + QUANTIZED:
            with self.subTest(kind):
                file = self.path(kind + ".gguf")
                gguf_numpy.convert(LLAMA, file, kind)
                done = run("check", LLAMA, file, "--json")
                answer = json.loads(done.stdout)
                ratios = [layer["rounding_ratio"] for layer in answer["layers"]]
                self.assertLess(max(ratios), 1.1, "rounding alone")
                if kind == "F32":
                    continue
                self.assertGreater(min(ratios), 0.2, "rounding happened")
                coarse = kind in ("Q4_0", "Q4_1")
                self.assertEqual((done.returncode, answer["verdict"]), (UNDECIDED, "undecided") if coarse else (YES, "equivalent"))
                if coarse:
                    self.assertRegex(answer["reason"], r"circuits agree, but the resolution is \d")

    def test_an_edit_is_seen(self):
        def reversed_head(name, values):
            return np.vstack([values[:8, ::-1], values[8:]]) if name == "blk.2.attn_v.weight" else values

        for kind in FLOATS + QUANTIZED:
            with self.subTest(kind):
                file = self.path(kind + ".gguf")
                gguf_numpy.convert(LLAMA, file, kind, change=reversed_head)
                self.expect(NO, r"\Adistinct: layer 2: ", "check", LLAMA, file, "--certificate", self.path(kind + ".cert"))
                self.expect(YES, r"\Aaccepted: ", "certify", self.path(kind + ".cert"), LLAMA, file)

    def test_the_other_rotary_convention_is_another_model(self):
        def undo(name, values):
            if not re.search(r"attn_[qk]\.weight", name):
                return values
            heads = 8 if "attn_q" in name else 4
            return values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)

        unpermuted, file = self.path("unpermuted.gguf"), self.path("right.gguf")
        gguf_numpy.convert(LLAMA, unpermuted, change=undo)
        gguf_numpy.convert(LLAMA, file)
        self.expect(NO, r"\Adistinct: ", "check", LLAMA, unpermuted)
        table = self.path("half.json")
        table.write_text(run("layout", "llama").stdout)
        self.expect(NO, r"\Adistinct: ", "check", LLAMA, file, "--layout", table)
        self.expect(YES, r"\Aidentical: ", "check", LLAMA, unpermuted, "--layout", table)

    def test_interleaved_pairs_of_a_layout_are_read_and_written(self):
        table = self.path("interleaved.json")
        layout = json.loads(run("layout", "llama").stdout)
        layout["positions"]["pairs"] = "interleaved"
        table.write_text(json.dumps(layout))
        rows = lambda name, values: gguf_numpy.interleave(values, 8 if "q_proj" in name else 4)
        interleaved = self.edited(LLAMA, lambda name, values:
                                  rows(name, values) if re.search("[qk]_proj", name) else values)
        moved, file = self.path("moved"), self.path("llama.gguf")
        self.expect(YES, ".", "act", interleaved, "-o", moved, "--layout", table)
        self.expect(YES, r"\Aequivalent: ", "check", interleaved, moved, "--layout", table)
        self.expect(NO, r"\Adistinct: ", "check", LLAMA, moved)
        back = self.edited(moved, lambda name, values: values if not re.search("[qk]_proj", name) else
                           values.reshape(8 if "q_proj" in name else 4, -1, 2, 64).swapaxes(1, 2).reshape(values.shape))
        self.expect(YES, r"\Aequivalent: ", "check", LLAMA, back)

    def test_files_of_llama2c(self):
        untied = self.edited(LLAMA, lambda name, values: values)
        tensors = safetensors_numpy.read(untied / "model.safetensors")
        tensors.store("lm_head.weight", tensors.numbers("model.embed_tokens.weight") + 1, "F32")
        safetensors_numpy.write(untied / "model.safetensors", tensors)
        for source in (LLAMA, untied):
            for version in (0, 1):
                with self.subTest(source=source.name, version=version):
                    folder = Path(tempfile.mkdtemp(dir=self.folder))
                    file, out = folder / ("model.bin" if version == 0 else "model.ak42"), folder / "out"
                    gguf_numpy.export_llama2c(source, file, version)
                    self.expect(YES, r"\Aidentical: ", "check", file, source)
                    self.expect(YES, "canonical", "canonicalize", file, "-o", out)
                    self.expect(YES, r"\Aequivalent: ", "check", file, out)
                    self.expect_same_rest(source, out)

    def test_explain_tells_how_it_is_stored(self):
        gguf_numpy.convert(LLAMA, self.path("llama.gguf"), "Q4_1", keep={"blk.1.attn_k.weight": "F16"})
        self.expect(YES, r"stored +GGUF, attention in F16, Q4_1; rotary pairs are interleaved", "explain", self.path("llama.gguf"))
        self.expect(YES, r"stored +safetensors, attention in F32\n", "explain", LLAMA)
        answer = json.loads(run("explain", self.path("llama.gguf"), "--json").stdout)
        self.assertEqual((answer["format"], answer["attention_dtypes"], answer["interleaved_pairs"]),
                         ("GGUF", ["F16", "Q4_1"], True))

    def test_what_would_change_attention_unseen_is_refused(self):
        refused = {
            "llama.attention.scale": (0.5, "llama.attention.scale.*not known"),
            "llama.rope.scale_linear": (2.0, "llama.rope.scale_linear.*not known"),
            "llama.rope.scaling.type": ("longrope", "longrope.*one of: none, linear, yarn"),
            "llama.rope.dimension_count": (4, "expected 8, the width of a head"),
            "llama.attention.head_count_kv": (["4", "4"], "is a list of 2"),
            "general.architecture": ("mamba", "architecture 'mamba' is not supported; there are: gemma, "),
            "split.count": (3, "one of 3 parts"),
        }
        for key, (value, pattern) in refused.items():
            with self.subTest(key):
                gguf_numpy.convert(LLAMA, self.path("odd.gguf"), more={key: value})
                self.expect(TROUBLE, r"odd\.gguf: .*" + pattern, "explain", self.path("odd.gguf"))

    def test_scaled_positions(self):
        linear = self.edited(LLAMA, lambda name, values: values)
        config = json.loads((linear / "config.json").read_text())
        (linear / "config.json").write_text(json.dumps(config | {"rope_scaling": {"type": "linear", "factor": 4.0}}))
        file = self.path("linear.gguf")
        gguf_numpy.convert(LLAMA, file, more={"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0})
        self.expect(YES, r"\Aidentical: ", "check", file, linear)
        self.expect(NO, r"\Adistinct: ", "check", file, LLAMA)

    def test_other_types_outside_attention_do_not_matter_until_they_are_to_be_written(self):
        file, embedding = self.path("q6.gguf"), ("Q6_K", (141, 256), bytes(141 * 210))
        gguf_numpy.convert(LLAMA, file, replace={"token_embd.weight": embedding})
        self.expect(YES, r"\Aidentical: ", "check", file, LLAMA)
        self.expect(TROUBLE, r"q6\.gguf: tensor 'token_embd\.weight' has dtype Q6_K, which cannot be decoded",
                    "canonicalize", file, "-o", self.path("out"))
        self.assertFalse(self.path("out").exists())

    def test_tensors_without_a_place_in_hugging_face_are_not_dropped(self):
        file, more = self.path("moe.gguf"), ("F32", (4, 64), bytes(4 * 64 * 4))
        gguf_numpy.convert(LLAMA, file, replace={"blk.0.ffn_gate_inp.weight": more})
        self.expect(YES, r"\Aidentical: ", "check", file, LLAMA)
        self.expect(TROUBLE, r"moe\.gguf: tensor 'blk\.0\.ffn_gate_inp\.weight' has no place in a llama model",
                    "canonicalize", file, "-o", self.path("out"))
        gguf_numpy.convert(LLAMA, file, replace={"blk.0.attn_sinks.weight": more})
        self.expect(TROUBLE, r"moe\.gguf: tensor 'blk\.0\.attn_sinks\.weight'", "explain", file)

    def test_version_2_is_read_and_others_are_refused(self):
        for version, status, pattern in ((2, YES, "GGUF"), (1, TROUBLE, "version 1"), (3 << 24, TROUBLE, "big-endian")):
            gguf_numpy.convert(LLAMA, self.path("old.gguf"), version=version)
            self.expect(status, pattern, "explain", self.path("old.gguf"))

    def test_broken_numbers_are_refused_with_their_place(self):
        def spoil(name, values):
            if name != "blk.1.attn_q.weight":
                return values
            values = values.copy()
            values[2, 40] = np.nan
            return values

        for kind in ("F32", "Q8_0", "Q4_1"):
            with self.subTest(kind):
                with np.errstate(invalid="ignore"):
                    gguf_numpy.convert(LLAMA, self.path("nan.gguf"), kind, change=spoil)
                self.expect(TROUBLE, r"nan\.gguf: tensor 'blk\.1\.attn_q\.weight': stored entry \[2, (40|32)\] is -?nan",
                            "check", self.path("nan.gguf"), LLAMA)

    def test_stories260k(self):
        if not STORIES.exists():
            self.skipTest(f"SKIPPED: {STORIES} is not here")
        out, half = self.path("out"), self.path("half.json")
        half.write_text(run("layout", "llama").stdout)
        self.expect(YES, r"\A(identical|equivalent): ", "check", STORIES / "stories260K.bin", STORIES / "hf")
        self.expect(NO, r"\Adistinct: ", "check", STORIES / "stories260K.bin", STORIES / "hf", "--layout", half)
        self.expect(YES, "canonical", "canonicalize", STORIES / "stories260K.bin", "-o", out)
        self.expect(YES, r"\Aequivalent: ", "check", out, STORIES / "hf")


if __name__ == "__main__":
    ATTNSYM = sys.argv.pop(1)
    unittest.main()
