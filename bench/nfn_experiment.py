#!/usr/bin/python3
"""Does a network on weights learn a known invariant, and does a change of basis confuse it?

    bench/nfn_experiment.py --attnsym build/release/tools/attnsym [--label NAME] [--train N] [--test N] [--epochs N]

Draws small transformer blocks, labels each with a number that NumPy computes and that no symmetry changes, trains
`attnsym nfn` and, in NumPy, a perceptron on the flat weights, and judges both on blocks that neither has seen: as drawn,
and moved by a random element of their group. The labels, Q_i and K_i being those of head i:

    scores  log of || sum_i Q_i K_i^T ||^2, which depends on the sum over the heads alone, as the published layers do
    heads   log of sum_i || Q_i K_i^T ||^2, which does not: for it, there is `--per-head`
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "tools"))

import numpy as np
import transformers_numpy as transformers

SHAPE = transformers.Shape(width=4, heads=2, key=2, value=2, hidden=4)
RATE, LAST_RATE, WARMUP, BATCH = 3e-3, 1e-5, 10, 32


def draw(random):
    """Normal weights, every tensor of attention at a scale of its own."""
    block = transformers.draw(SHAPE, random)
    return {name: values * np.exp(random.uniform(-0.5, 0.5)) if name in "QKVO" else values for name, values in block.items()}


def scores(block):
    return np.log((np.einsum("hpk,hqk->pq", block["Q"], block["K"]) ** 2).sum())


def heads(block):
    return np.log((np.einsum("hpk,hqk->hpq", block["Q"], block["K"]) ** 2).sum())


@dataclass
class Blocks:
    """Blocks with their labels."""

    blocks: list
    labels: np.ndarray

    def flat(self):
        return np.stack([np.concatenate([values.ravel() for values in block.values()]) for block in self.blocks])

    def write(self, folder):
        folder.mkdir()
        names = [f"{number:06}.safetensors" for number in range(len(self.blocks))]
        for name, block in zip(names, self.blocks):
            transformers.write(folder / name, [block])
        transformers.write_labels(folder.with_suffix(".csv"), dict(zip(names, self.labels)))


def make_data(options):
    random = np.random.default_rng(options.seed)
    label = globals()[options.label]
    train, test = ([draw(random) for _ in range(count)] for count in (options.train, options.test))
    moved = [transformers.moved(block, random) for block in test]
    labels = [np.array([label(block) for block in blocks]) for blocks in (train, test, moved)]
    np.testing.assert_allclose(labels[1], labels[2], rtol=1e-9, atol=1e-9)
    mean, deviation = labels[0].mean(), labels[0].std()
    return [Blocks(blocks, (values - mean) / deviation) for blocks, values in zip((train, test, moved), labels)]


class Perceptron:
    """Two hidden layers with relu, trained as `attnsym nfn train --loss mse` trains: Adam, warm-up, half a cosine."""

    def __init__(self, inputs, width, random):
        sizes = [inputs, width, width, 1]
        self.parameters = []
        for fan_in, fan_out in zip(sizes, sizes[1:]):
            self.parameters += [random.uniform(-1, 1, shape) / np.sqrt(fan_in) for shape in ((fan_in, fan_out), (fan_out,))]
        self.moments = [[np.zeros_like(p), np.zeros_like(p)] for p in self.parameters]
        self.steps = 0

    def layers(self, x):
        """The input of every dense layer, and the output."""
        values = [x]
        for weight, bias in zip(self.parameters[::2], self.parameters[1::2]):
            x = values[-1] @ weight + bias
            values.append(np.maximum(x, 0))
        return [*values[:-1], x[:, 0]]

    def gradient(self, x, labels):
        *inputs, output = self.layers(x)
        back = 2 * (output - labels)[:, None] / len(x)
        gradient = []
        for layer in (2, 1, 0):
            gradient = [inputs[layer].T @ back, back.sum(0), *gradient]
            back = (back @ self.parameters[2 * layer].T) * (inputs[layer] > 0)
        return gradient

    def step(self, x, labels, rate):
        self.steps += 1
        correction = np.sqrt(1 - 0.999 ** self.steps) / (1 - 0.9 ** self.steps)
        for parameter, slope, moments in zip(self.parameters, self.gradient(x, labels), self.moments):
            moments[0] += 0.1 * (slope - moments[0])
            moments[1] += 0.001 * (slope ** 2 - moments[1])
            parameter -= rate * correction * moments[0] / (np.sqrt(moments[1]) + 1e-8)

    def train(self, x, labels, epochs, random):
        for epoch in range(epochs):
            rate = LAST_RATE + (RATE - LAST_RATE) / 2 * (1 + np.cos(np.pi * (epoch - WARMUP) / (epochs - WARMUP)))
            if epoch < WARMUP:
                rate = RATE * (epoch + 1) / WARMUP
            order = random.permutation(len(x))
            for first in range(0, len(x), BATCH):
                places = order[first:first + BATCH]
                self.step(x[places], labels[places], rate)


def tau(a, b):
    """Kendall's tau of lists without ties, by counting pairs."""
    signs = np.sign(np.subtract.outer(a, a)) * np.sign(np.subtract.outer(b, b))
    return signs.sum() / (len(a) * (len(a) - 1))


def call(*line):
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"nfn_experiment: {done.stderr}")
    return json.loads(done.stdout)


def run_command(options, sets, folder, per_head):
    """@return parameters, tau by set, processor seconds of training"""
    model, nfn = folder / f"per_head_{per_head}.safetensors", (options.attnsym, "nfn")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    trained = call(*nfn, "train", folder / "train", "--labels", folder / "train.csv", "-o", model, "--loss", "mse", "--json",
                   "--threads", 1, "--epochs", options.epochs, "--rate", RATE, "--last-rate", LAST_RATE, "--warmup", WARMUP,
                   "--batch", BATCH, "--seed", options.seed, "--per-head", per_head)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    taus = [call(*nfn, "eval", model, folder / name, "--labels", folder / f"{name}.csv", "--json")["kendall_tau"] for name in sets]
    return trained["parameters"], taus, seconds


def run_perceptron(options, sets):
    random = np.random.default_rng(options.seed + 1)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    network = Perceptron(sets["train"].flat().shape[1], options.width, random)
    network.train(sets["train"].flat(), sets["train"].labels, options.epochs, random)
    seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime - start
    taus = [tau(network.layers(data.flat())[-1], data.labels) for data in sets.values()]
    return sum(p.size for p in network.parameters), taus, seconds


def main():
    options = parse()
    sets = dict(zip(("train", "test", "moved"), make_data(options)))
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        for name, data in sets.items():
            data.write(Path(folder) / name)
        results = {"attnsym nfn": run_command(options, sets, Path(folder), 0),
                   f"attnsym nfn --per-head {options.per_head}": run_command(options, sets, Path(folder), options.per_head),
                   f"perceptron {options.width}-{options.width} on flat weights": run_perceptron(options, sets)}
    print(f"label {options.label}, {options.train} blocks, {options.epochs} epochs, seed {options.seed}\n")
    print("| Kendall tau | parameters | trained on | held out | held out, moved | processor seconds |\n|---|---|---|---|---|---|")
    for name, (parameters, taus, seconds) in results.items():
        print(f"| {name} | {parameters} | {' | '.join(f'{value:.3f}' for value in taus)} | {seconds:.0f} |")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attnsym", required=True, help="the command, from a release build")
    parser.add_argument("--label", choices=["scores", "heads"], default="scores")
    parser.add_argument("--train", type=int, default=8000, help="blocks")
    parser.add_argument("--test", type=int, default=1000, help="blocks")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--width", type=int, default=50, help="of the perceptron's hidden layers")
    parser.add_argument("--per-head", type=int, default=32, metavar="M", help="features of every head by itself")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", help="an existing directory for temporary files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
