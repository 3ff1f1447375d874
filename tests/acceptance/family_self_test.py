"""The judge of the families on trial, without the command under test."""

import tempfile
import unittest
from pathlib import Path

import numpy as np

import attention_numpy
import families
import family_config
import family_elements
import family_fixtures
import family_model
import rotary_numpy

TOKENS = 7
SAME, ALMOST, DIFFERENT = 1e-12, 1e-5, 1e-3  # relative, of outputs in float64


class OnFixtures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        for name in family_fixtures.FIXTURES:
            family_fixtures.make(name, Path(cls.folder.name) / name, dtype="F64")

    def models(self):
        for name in family_fixtures.FIXTURES:
            with self.subTest(name):
                yield family_model.load(Path(self.folder.name) / name)

    def change(self, model, layer, heads):
        """How far other weights move the output, relative."""
        attention = model.attention(layer)
        x = np.random.default_rng(3).standard_normal((TOKENS, attention.width))
        before, after = (attention_numpy.output(attention, weights, x) for weights in (model.heads(layer), heads))
        return np.linalg.norm(after - before) / np.linalg.norm(before)

    def test_every_family_has_a_fixture(self):
        kinds = {config["model_type"] for config in family_fixtures.FIXTURES.values()}
        self.assertEqual(kinds | {"falcon-grouped", "falcon-multi-query", "falcon-per-head"},
                         set(families.FAMILIES) | {"falcon"})

    def test_stored_heads_come_back(self):
        for model in self.models():
            before = {name: values.copy() for name, values in model.tensors.stored.items()}
            for layer in range(model.layers):
                model.store(layer, model.heads(layer))
            self.assertEqual(before.keys(), model.tensors.stored.keys())
            self.assertTrue(all((before[name] == model.tensors.stored[name]).all() for name in before))

    def test_allowed_elements_change_nothing(self):
        for model in self.models():
            for layer in range(model.layers):
                for element in family_elements.applying(family_elements.ALLOWED, model, layer):
                    with self.subTest(element.name, layer=layer):
                        moved = self.moved(model, layer, element)
                        self.assertLess(self.change(model, layer, moved), SAME if element.exact else ALMOST)
                        self.assertGreater(self.distance(model, layer, moved), 0.01)

    def test_wrong_elements_change_the_output(self):
        for model in self.models():
            for layer in range(model.layers):
                for element in family_elements.applying(family_elements.WRONG, model, layer):
                    with self.subTest(element.name, layer=layer):
                        self.assertGreater(self.change(model, layer, self.moved(model, layer, element)), DIFFERENT)

    def moved(self, model, layer, element):
        return element.move(model.attention(layer), model.heads(layer), np.random.default_rng(5))

    def distance(self, model, layer, heads):
        """How far the weights have moved."""
        pairs = zip(vars(model.heads(layer)).values(), vars(heads).values())
        return max(abs(new - old).max() for old, new in pairs if old is not None)

    def test_later_tokens_are_not_seen(self):
        for model in self.models():
            attention = model.attention(0)
            x = np.random.default_rng(3).standard_normal((TOKENS, attention.width))
            whole, beginning = model.attend(0, x)[:4], model.attend(0, x[:4])
            self.assertEqual(np.allclose(whole, beginning, rtol=0, atol=1e-12), attention.causal)


class Parts(unittest.TestCase):
    def test_one_head_by_hand(self):
        """Two tokens, one rotary pair of frequency 1: scores are s q R(n - m) k."""
        attention = attention_numpy.Attention(2, 1, 1, 2, scale=0.5, frequencies=np.array([1.0]))
        identity = np.eye(2)[None]
        x = np.array([[1.0, 2.0], [3.0, -1.0]])
        angle = 1.0
        turned = np.array([x[1, 0] * np.cos(angle) - x[1, 1] * np.sin(angle),
                           x[1, 0] * np.sin(angle) + x[1, 1] * np.cos(angle)])
        scores = 0.5 * np.array([turned @ x[0], x[1] @ x[1]])
        weights = np.exp(scores) / np.exp(scores).sum()
        found = attention_numpy.output(attention, attention_numpy.Heads(identity, identity, identity, identity), x)
        np.testing.assert_allclose(found, [x[0], weights @ x], rtol=1e-14)

    def test_scores_depend_on_distances(self):
        frequencies, _ = rotary_numpy.frequencies({"rope_type": "default", "rope_theta": 10000.0}, 8, 64)
        q, k = np.random.default_rng(1).standard_normal((2, 10))
        scores = [rotary_numpy.rotate(q[None], np.array([[m]]) * frequencies)
                  @ rotary_numpy.rotate(k[None], np.array([[n]]) * frequencies).T for m, n in ((3, 1), (13, 11))]
        np.testing.assert_allclose(*scores, rtol=1e-13)

    def test_alibi_slopes(self):
        """Of the paper, arXiv 2108.12409: powers of 1/2 for 8 heads, of sqrt(1/2) for 16; 12 heads take both."""
        np.testing.assert_allclose(family_config.alibi_slopes(8), 0.5 ** np.arange(1, 9))
        np.testing.assert_allclose(family_config.alibi_slopes(16), 0.5 ** (np.arange(1, 17) / 2))
        np.testing.assert_allclose(family_config.alibi_slopes(12)[8:], 0.5 ** np.array([0.5, 1.5, 2.5, 3.5]))

    def test_llama3_keeps_fast_pairs_and_slows_slow_ones(self):
        parameters = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                      "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        plain = 500000.0 ** (-np.arange(0, 128, 2) / 128)
        scaled, gain = rotary_numpy.frequencies(parameters, 128, 131072)
        length = 2 * np.pi / plain
        np.testing.assert_allclose(scaled[length < 2048], plain[length < 2048])
        np.testing.assert_allclose(scaled[length > 8192], plain[length > 8192] / 8)
        self.assertTrue((np.diff(scaled) < 0).all())
        self.assertEqual(gain, 1)

    def test_yarn_keeps_fast_pairs_and_slows_slow_ones(self):
        parameters = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                      "original_max_position_embeddings": 32768}
        plain = 10000.0 ** (-np.arange(0, 128, 2) / 128)
        scaled, gain = rotary_numpy.frequencies(parameters, 128, 131072)
        turns = 32768 * plain / (2 * np.pi)
        np.testing.assert_allclose(scaled[turns > 40], plain[turns > 40])
        np.testing.assert_allclose(scaled[turns < 0.9], plain[turns < 0.9] / 4)
        self.assertAlmostEqual(gain, 0.1 * np.log(4) + 1)


if __name__ == "__main__":
    unittest.main()
