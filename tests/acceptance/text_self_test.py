"""The models that write on trial, without the command under test: what they write, and how the tiny one was trained."""

import struct
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

import family_elements
import family_model
import llama_numpy
import token_text

ROOT = Path(__file__).resolve().parent.parent.parent
TINY_LLAMA = ROOT / "models" / "tiny-llama"
sys.path.insert(0, str(ROOT / "models" / "training"))

import llama
import stories


class TinyLlama(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.copy = Path(folder.name) / "copy"

    def text(self, directory, start=(1,)):
        return token_text.decoder(directory)(llama_numpy.greedy_tokens(directory, start, 120))

    def test_it_tells_the_likeliest_story(self):
        words = stories.told_by(lambda options: options[0])
        self.assertEqual(self.text(TINY_LLAMA), words.replace(" .", ".").replace(" ,", ","))

    def test_it_goes_on_as_it_was_begun(self):
        beginning = ("Once upon a time there was a brave boy named Otto. "
                     "Otto lived in an old tower on a hill with his owl.")
        start = [1, *token_text.encode(TINY_LLAMA, beginning)]
        text = self.text(TINY_LLAMA, start)
        self.assertTrue(text.startswith(beginning))
        self.assertIn("Otto hugged his owl and they shared a cake.", text)

    def test_bfloat16_tells_the_same(self):
        with family_model.edited_copy(TINY_LLAMA, self.copy) as model:
            for name in list(model.tensors.stored):
                model.tensors.store(name, model.tensors.numbers(name), "BF16")
        self.assertEqual(self.text(self.copy), self.text(TINY_LLAMA))

    def test_interleaved_pairs_spoil_the_story(self):
        element = next(wrong for wrong in family_elements.WRONG if "interleaved" in wrong.name)
        family_elements.apply(element, TINY_LLAMA, self.copy)
        self.assertNotEqual(self.text(self.copy), self.text(TINY_LLAMA))

    def test_training_computes_the_same_loss(self):
        """The forward pass it was trained with and that of llama_numpy are written apart."""
        model, words = family_model.load(TINY_LLAMA), stories.vocabulary()
        tokens = [words.index(word) for word in stories.story(np.random.default_rng(3))[0]]
        weights = {name: model.tensors.numbers(name) for name in model.tensors.stored}
        shape = llama.Shape(vocabulary=len(words), hidden=64, inner=128, layers=4, heads=8, groups=4, positions=128)
        trained, _ = llama.loss_and_gradients(weights, shape, np.array([tokens]))
        logits = llama_numpy.logits(model, tokens[:-1])
        chosen = logits[np.arange(len(logits)), tokens[1:]]
        self.assertAlmostEqual(trained, (np.log(np.exp(logits).sum(axis=1)) - chosen).mean(), places=10)


class Training(unittest.TestCase):
    def test_gradients_are_derivatives(self):
        shape = llama.Shape(vocabulary=20, hidden=16, inner=12, layers=2, heads=4, groups=2, positions=16)
        random = np.random.default_rng(1)
        weights, tokens = llama.initial_weights(shape, random, np.float64), random.integers(0, 20, (3, 9))
        _, gradients = llama.loss_and_gradients(weights, shape, tokens)
        self.assertEqual(gradients.keys(), weights.keys())
        for name, weight in weights.items():
            direction, step = random.standard_normal(weight.shape), 1e-5
            direction /= np.linalg.norm(direction)
            above, below = (llama.loss_and_gradients({**weights, name: weight + move * direction}, shape, tokens)[0]
                            for move in (step, -step))
            with self.subTest(name):
                self.assertAlmostEqual((gradients[name] * direction).sum(), (above - below) / (2 * step), places=8)

    def test_stories_keep_to_the_vocabulary(self):
        words, random = set(stories.vocabulary()), np.random.default_rng(2)
        for _ in range(200):
            told, nats = stories.story(random)
            self.assertLessEqual(set(told), words)
            self.assertGreater(nats, 0)


class Tokenizers(unittest.TestCase):
    def test_pieces_of_llama2_c(self):
        pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", b"<0x0A>", b" a", b"b\xc3\xa9"]
        data = struct.pack("<i", 7) + b"".join(struct.pack("<fi", 0.0, len(piece)) + piece for piece in pieces)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tok6.bin").write_bytes(data)
            self.assertEqual(token_text.decoder(folder)([1, 4, 5, 3, 4]), "abé\n a")

    def test_without_a_tokenizer_tokens_are_numbers(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "model").mkdir()
            self.assertEqual(token_text.decoder(Path(folder) / "model")([1, 4]), "1 4")

    def test_unknown_words_are_named(self):
        with self.assertRaisesRegex(ValueError, "Zebra"):
            token_text.encode(TINY_LLAMA, "Once Zebra")


if __name__ == "__main__":
    unittest.main()
