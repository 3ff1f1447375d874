"""The judge on trial: self_test.py checks the harness without the command under test."""

import tempfile
import unittest
from pathlib import Path

import numpy as np

import bert_model
import bert_numpy
import circuits_numpy
import edits
import safetensors_numpy
import tiny_bert
import wordpiece
from name_events import NameEvents
from report import NotShown, require


class OnTinyModel(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.model, self.edited = self.folder / "model", self.folder / "edited"
        tiny_bert.make(self.model)

    def change(self, edit, *arguments):
        """Per layer, how much the attention output moves, relative."""
        edit(self.model, self.edited, *arguments)
        before, after = bert_model.load(self.model), bert_model.load(self.edited)
        x = np.random.default_rng(3).standard_normal((7, before.width))
        outputs = [[bert_numpy.attention_module(model.tensors, layer, model.heads, x) for layer in range(model.layers)]
                   for model in (before, after)]
        return [np.linalg.norm(new - old) / np.linalg.norm(old) for old, new in zip(*outputs)]

    def assert_same_function(self, *edit):
        self.assertLess(max(self.change(*edit)), 1e-6)

    def assert_only_layer_1_changes(self, at_least, *edit):
        change = self.change(*edit)
        self.assertEqual((change[0], change[2]), (0, 0))
        self.assertGreater(change[1], at_least)

    def test_shift_key_bias(self):
        self.assert_same_function(edits.shift_key_bias)

    def test_move_value_bias(self):
        self.assert_same_function(edits.move_value_bias)

    def test_regauge(self):
        self.assert_same_function(edits.regauge)

    def test_swap_heads(self):
        self.assert_same_function(edits.swap_heads, 1, 0, 3)

    def test_nudge_weight(self):
        for slot in bert_model.SLOTS:
            with self.subTest(slot):
                self.edited = self.folder / slot
                self.assert_only_layer_1_changes(1e-6, edits.nudge_weight, 1, 2, slot, 0.01)

    def test_repaired_heads(self):
        self.assert_only_layer_1_changes(0.1, edits.swap_heads, 1, 0, 3, ("value", "output"))

    def test_transpose_projection(self):
        self.assert_only_layer_1_changes(0.1, edits.transpose_projection, 1, "key")

    def test_forget_value_bias(self):
        self.assert_only_layer_1_changes(1e-3, edits.forget_value_bias, 1)

    def test_rounding_is_seen_as_rounding_and_an_edit_as_an_edit(self):
        edits.regauge(self.model, self.edited)
        edits.swap_heads(self.edited, self.folder / "repaired", 1, 0, 3, ("value",))
        a, same, repaired = map(bert_model.load, (self.model, self.edited, self.folder / "repaired"))
        ratio, resolution = circuits_numpy.compare_heads(a, same, 1, 0, 0)["vo"]
        self.assertTrue(0.5 < ratio < 2 and 1e-8 < resolution < 1e-6)
        self.assertGreater(circuits_numpy.compare_heads(a, repaired, 1, 0, 0)["vo"][0], 1e4)

    def test_embeddings_have_length_1(self):
        found = bert_numpy.embeddings(self.model, [[1, 2, 3], [5, 4]])
        np.testing.assert_allclose((found**2).sum(axis=1), 1)

    def test_safetensors_round_trip(self):
        original, copy = self.model / "model.safetensors", self.folder / "copy"
        safetensors_numpy.write(copy, safetensors_numpy.read(original))
        self.assertEqual(copy.read_bytes(), original.read_bytes())

    def test_name_events_tell_a_gap_from_a_replacement(self):
        old, new = self.folder / "old", self.folder / "new"
        for moves, lowest in (((("new", "old"),), 1), ((("old", "away"), ("new", "old")), -1)):
            old.touch(), new.touch()
            with NameEvents(old) as events:
                for source, target in moves:
                    (self.folder / source).rename(self.folder / target)
                self.assertEqual(min(events.balances()), lowest)


class Alone(unittest.TestCase):
    def test_bf16_rounds_to_nearest_even(self):
        values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, -3.14159, np.inf], np.float32)
        bits = safetensors_numpy.f32_to_bf16(values)
        self.assertEqual(bits.tolist(), [0x3F80, 0x3F80, 0x3F82, 0xC049, 0x7F80])
        np.testing.assert_array_equal(safetensors_numpy.bf16_to_f32(bits), [1, 1, 1.015625, -3.140625, np.inf])

    def test_wordpiece(self):
        tokens = ["[CLS]", "[SEP]", "[UNK]", "un", "##aff", "##able", "cafe", "!", "華"]
        vocabulary = {token: number for number, token in enumerate(tokens)}
        found = [tokens[token] for token in wordpiece.token_ids("Unaffable CAFÉ!華 xyz", vocabulary)]
        self.assertEqual(found, ["[CLS]", "un", "##aff", "##able", "cafe", "!", "華", "[UNK]", "[SEP]"])

    def test_require(self):
        require(True, "")
        self.assertRaises(NotShown, require, False, "figures")


if __name__ == "__main__":
    unittest.main()
