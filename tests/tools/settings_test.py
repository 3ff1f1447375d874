#!/usr/bin/python3
"""What config.json and the files beside the weights change in an answer: settings_test.py ATTNSYM. Needs NumPy.

Copies of a model with the same weights and other settings. What the reference library computes with them was asked of it once:
the rows say whether its outputs stay the same.
"""

import json
import shutil
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

ATTNSYM = ""
LLAMA = ROOT / "models" / "tiny-llama"
YES, NO, TROUBLE, UNDECIDED = 0, 1, 2, 3
SCOPES = ("attention", "model")
LAYERS = 4

LONG = {"rope_type": "longrope", "short_factor": [1.0, 0.1, 1.0, 1.0], "long_factor": [1.0, 1.0, 1.0, 1.0],
        "original_max_position_embeddings": 64, "factor": 2.0, "attention_factor": 1.0}

SAME = [
    {"torch_dtype": "bfloat16", "use_cache": False, "initializer_range": 0.5, "attention_dropout": 0.5},
    {"rope_scaling": None}, {"rope_scaling": {}}, {"is_causal": True}, {"layer_types": ["full_attention"] * LAYERS},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    {"rope_scaling": {"type": "linear", "factor": 1.0}}, {"rope_scaling": {"rope_type": "llama3", "factor": 1.0,
     "low_freq_factor": 1.0, "high_freq_factor": 4.0}},
    {"rope_scaling": {**LONG, "short_factor": [1.0] * 4}},
    {"max_position_embeddings": 256}, {"pretraining_tp": 2},
]

# The function is another one; whether tokens that are tried show it is another question.
OTHERS = [
    {"is_causal": False}, {"is_causal": None},
    {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}},
]
LONG_ONLY = [
    ({"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, 128),
    ({"rope_scaling": {"type": "dynamic", "factor": 1.0}}, 128),
    ({"rope_scaling": {**LONG, "short_factor": [1.0] * 4, "long_factor": [1.0, 1.0, 2.0, 4.0]}}, 64),
]

REFUSED = [
    ({"attention_multiplier": 0.5}, "'attention_multiplier' is not known to be neutral for llama models"),
    ({"sliding_window": 16}, "'sliding_window' is not known to be neutral"),
    ({"layer_types": ["sliding_attention"] * LAYERS}, "'layer_types' names layers with a window, and there is none"),
    ({"attention_bias": True}, "has no bias beside it, but 'attention_bias' is true"),
    ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "'partial_rotary_factor'"),
    ({"rope_scaling": {"rope_type": "su", "factor": 4.0}}, "'rope_type' is"),
    ({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0] * 4, "factor": 2.0}}, "'long_factor'"),
    ({"rope_interleaved": True}, "'rope_interleaved' is 'true'"),
]
REFUSED_AS_WHOLE = [
    ({"vocab_size": 140}, "'vocab_size' is"), ({"intermediate_size": 64}, "'intermediate_size' is"),
    ({"mlp_bias": True}, "has no bias beside it, but 'mlp_bias' is true"),
]


def run(*arguments):
    return subprocess.run([ATTNSYM, *map(str, arguments)], capture_output=True, text=True, timeout=300)


class Settings(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.count = 0

    def model(self, settings=(), weights=LLAMA):
        """A copy with these settings besides its own."""
        self.count += 1
        copy = self.folder / f"model{self.count}"
        copy.mkdir()
        shutil.copy(weights / "model.safetensors", copy)
        config = json.loads((LLAMA / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, **dict(settings)}))
        return copy

    def expect(self, status, words, *arguments):
        result = run(*arguments)
        text = result.stderr if status == TROUBLE else result.stdout
        self.assertEqual(result.returncode, status, f"{arguments}\n{result.stdout}{result.stderr}")
        self.assertIn(words, text)

    def test_settings_that_change_nothing(self):
        for settings in SAME:
            for scope in SCOPES:
                with self.subTest(settings=settings, scope=scope):
                    self.expect(YES, "identical", "check", LLAMA, self.model(settings), "--scope", scope)

    def test_settings_that_make_it_another_function(self):
        for settings in OTHERS:
            model = self.model(settings)
            for scope in SCOPES:
                with self.subTest(settings=settings, scope=scope):
                    self.expect(NO, "distinct", "check", LLAMA, model, "--scope", scope)
                    self.expect(YES, "identical", "check", model, model, "--scope", scope)

    def test_what_differs_in_long_sequences_only_is_no_equality(self):
        for settings, length in LONG_ONLY:
            model = self.model(settings)
            for extra in (("--scope", "attention"), ("--scope", "model"), ("--exact",)):
                with self.subTest(settings=settings, extra=extra):
                    words = "positions" if extra == ("--exact",) else f"in sequences of more than {length} tokens"
                    self.expect(UNDECIDED, words, "check", LLAMA, model, *extra)
                    if extra[0] == "--scope":
                        self.expect(UNDECIDED, words, "check", model, LLAMA, *extra)
                        self.expect(YES, "", "check", model, model, *extra)

    def test_a_certificate_of_equality_does_not_hold_in_long_sequences(self):
        model, certificate = self.model(LONG_ONLY[0][0]), self.folder / "certificate"
        self.expect(YES, "identical", "check", LLAMA, LLAMA, "--certificate", certificate)
        self.expect(NO, "rejected", "certify", certificate, LLAMA, model)

    def test_settings_that_are_not_understood_are_refused(self):
        for table, scopes in ((REFUSED, SCOPES), (REFUSED_AS_WHOLE, ("model",))):
            for settings, words in table:
                model = self.model(settings)
                for scope in scopes:
                    with self.subTest(settings=settings, scope=scope):
                        self.expect(TROUBLE, words, "check", model, model, "--scope", scope)
                        self.expect(TROUBLE, words, "act", model, "-o", self.folder / "out", "--scope", scope)
                        self.expect(TROUBLE, words, "canonicalize", model, "-o", self.folder / "out", "--scope", scope)

    def test_biases_that_the_class_does_not_read_are_refused(self):
        for name, scopes in (("model.layers.1.self_attn.q_proj", SCOPES), ("model.layers.0.self_attn.o_proj", SCOPES),
                             ("model.layers.2.mlp.up_proj", ("model",)), ("lm_head", ("model",))):
            model = self.model()
            file = safetensors_numpy.read(model / "model.safetensors")
            rows = 141 if name == "lm_head" else len(file.numbers(name + ".weight"))
            file.store(name + ".bias", np.ones(rows), "F32")
            safetensors_numpy.write(model / "model.safetensors", file)
            for scope in scopes:
                with self.subTest(name=name, scope=scope):
                    self.expect(TROUBLE, name + ".bias", "check", model, model, "--scope", scope)

    # Their longest inputs have 64 tokens.
    def test_windows_that_no_input_reaches_make_no_difference(self):
        def sliding(family, window, positions=64, **more):
            folder = self.folder / f"{family}-{window}-{positions}{len(more)}"
            family_fixtures.make(family, folder, "F32", 1, {})
            config = json.loads((folder / "config.json").read_text())
            config.update(sliding_window=window, max_position_embeddings=positions, **more)
            if family.startswith("qwen"):
                config.update(use_sliding_window=True, max_window_layers=0)
            (folder / "config.json").write_text(json.dumps(config))
            return folder

        certificate = self.folder / "certificate"
        for family in ("mistral", "gemma2", "gemma3_text", "phi3", "qwen2", "qwen3"):
            unreached, other, reached, longer = (sliding(family, *sizes) for sizes in ((64,), (4096,), (63,), (4096, 4096)))
            for scope in SCOPES:
                with self.subTest(family=family, scope=scope):
                    words = "for inputs of at most 64 tokens (max_position_embeddings)"
                    options = ("--scope", scope, "--certificate", certificate, "--force")
                    self.expect(YES, words, "check", unreached, other, *options)
                    self.expect(YES, words, "certify", certificate, unreached, other)
                    self.expect(YES, words, "check", other, unreached, "--scope", scope)
                    # What differs is sought for seconds.
                    pairs = ((unreached, reached), (reached, other), (unreached, longer))
                    for a, b in pairs if (family, scope) in (("mistral", "attention"), ("gemma2", "model")) else pairs[:1]:
                        self.assertIn(run("check", a, b, "--scope", scope).returncode, (NO, UNDECIDED))
                    self.assertNotIn("for inputs", run("check", unreached, unreached, "--scope", scope).stdout)
        moved = self.folder / "moved"
        self.assertEqual(run("act", unreached, "-o", moved).returncode, YES)
        config = json.loads((moved / "config.json").read_text())
        (moved / "config.json").write_text(json.dumps({**config, "sliding_window": 100}))
        self.expect(YES, "equivalent", "check", unreached, moved)
        self.expect(NO, "distinct", "check", unreached, sliding("qwen3", 100, rms_norm_eps=0.5))

    # Two short frequencies are one, and the long ones are not.
    def test_what_is_moved_computes_the_same_in_short_and_in_long_sequences(self):
        plain = {"rope_scaling": {"rope_type": "longrope", "short_factor": LONG["short_factor"],
                                  "long_factor": LONG["short_factor"], "factor": 2.0, "attention_factor": 1.0}}
        model, short = self.model({"rope_scaling": LONG}), self.model(plain)
        for command in (("act",), ("canonicalize",), ("act", "--scope", "model"), ("canonicalize", "--scope", "model")):
            scope = command[-1] if len(command) > 1 else "attention"
            with self.subTest(command=command):
                moved = self.folder / "-".join(("moved", *command))
                self.assertEqual(run(*command, model, "-o", moved).returncode, YES)
                self.expect(YES, "equivalent", "check", model, moved, "--scope", scope)
                self.expect(YES, "equivalent", "check", short, self.model(plain, moved), "--scope", scope)
                self.expect(YES, "equivalent", "check", LLAMA, self.model((), moved), "--scope", scope)
        moved = self.folder / "moved short"
        self.assertEqual(run("act", short, "-o", moved).returncode, YES)
        self.expect(YES, "equivalent", "check", short, moved)
        self.expect(NO, "distinct", "check", LLAMA, self.model((), moved))

    def test_a_norm_that_blocks_side_by_side_do_not_read(self):
        a, b = self.folder / "a", self.folder / "b"
        family_fixtures.make("falcon-per-head", a)
        for side_by_side in (False, True):
            config = json.loads((a / "config.json").read_text())
            (a / "config.json").write_text(json.dumps({**config, "parallel_attn": side_by_side}))
            shutil.rmtree(b, ignore_errors=True)
            shutil.copytree(a, b)
            tensors = safetensors_numpy.read(b / "model.safetensors")
            name = next(name for name in tensors.stored if name.endswith("0.post_attention_layernorm.weight"))
            tensors.store(name, 2 * tensors.numbers(name))
            safetensors_numpy.write(b / "model.safetensors", tensors)
            done = run("check", a, b, "--scope", "model")
            self.assertEqual(YES if side_by_side else NO, done.returncode, done.stdout + done.stderr)
            done = run("canonicalize", a, "-o", self.folder / f"form-{side_by_side}", "--scope", "model")
            self.assertEqual(TROUBLE if side_by_side else YES, done.returncode, done.stdout + done.stderr)
            if side_by_side:
                self.assertIn("post_attention_layernorm", done.stderr)

    def test_adapters_beside_the_weights_are_refused(self):
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            model = self.model()
            (model / name).write_text("{}")
            for scope in SCOPES:
                self.expect(TROUBLE, name, "check", model, LLAMA, "--scope", scope)
                self.expect(TROUBLE, name, "check", LLAMA, model, "--scope", scope)
                for command in ("act", "canonicalize"):
                    self.expect(TROUBLE, name, command, model, "-o", self.folder / "out", "--scope", scope)
            self.expect(TROUBLE, name, "explain", model)

    def test_layers_for_images_that_the_configuration_does_not_count(self):
        model = self.folder / "images"
        family_fixtures.make("gemma3", model, "F32", 1, {})
        tensors = safetensors_numpy.read(model / "model.safetensors")
        for layer in range(2):
            name = f"model.vision_tower.vision_model.encoder.layers.{layer}.layer_norm1.weight"
            tensors.store(name, np.ones(4), "F32")
        safetensors_numpy.write(model / "model.safetensors", tensors)
        config = json.loads((model / "config.json").read_text())
        for vision, stated in (({"num_hidden_layers": 2}, 2), ({"num_hidden_layers": 1}, 1),
                               ({"num_hidden_layers": 3}, 3), ({}, 12), (None, 12)):
            config["vision_config"] = vision
            (model / "config.json").write_text(json.dumps(config))
            if stated == 2:
                self.expect(YES, "identical", "check", model, model)
            else:
                words = f"'num_hidden_layers' of 'vision_config' is {stated}, and there are tensors of 2"
                self.expect(TROUBLE, words, "check", model, model)
        config["vision_config"] = {"num_hidden_layers": 3}
        (model / "config.json").write_text(json.dumps(config))
        for layer in (3, 9223372036854775807, 10**30, "x"):  # and none is layer 2
            strange = safetensors_numpy.read(model / "model.safetensors")
            strange.store(f"model.vision_tower.vision_model.encoder.layers.{layer}.layer_norm1.weight", np.ones(4), "F32")
            safetensors_numpy.write(self.folder / "strange.safetensors", strange)
            other = self.folder / f"images-{layer}"
            other.mkdir()
            shutil.copy(model / "config.json", other)
            (self.folder / "strange.safetensors").rename(other / "model.safetensors")
            self.expect(TROUBLE, "'num_hidden_layers' of 'vision_config'", "check", other, other)

    def test_modules_that_read_the_hidden_states(self):
        model = self.model()
        kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
        (model / "modules.json").write_text(json.dumps(
            [{"idx": i, "name": str(i), "path": f"{i}_{kind}", "type": f"sentence_transformers.models.{kind}"}
             for i, kind in enumerate(kinds)]))
        self.expect(YES, "identical", "check", LLAMA, model)
        for command in (("check", LLAMA, model), ("act", model, "-o", self.folder / "out"),
                        ("canonicalize", model, "-o", self.folder / "out")):
            self.expect(TROUBLE, "Dense", *command, "--scope", "model")


if __name__ == "__main__":
    ATTNSYM = sys.argv.pop(1)
    unittest.main()
