"""Small transformer blocks, one file each, and their symmetries, with NumPy alone."""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "acceptance"))

import numpy as np
import safetensors_numpy


@dataclass
class Shape:
    width: int = 4  # D
    heads: int = 2
    key: int = 2
    value: int = 2
    hidden: int = 4

    def tensors(self):
        d, h, a = self.width, self.heads, self.hidden
        return {"Q": (h, d, self.key), "K": (h, d, self.key), "V": (h, d, self.value), "O": (h, self.value, d),
                "A": (d, a), "B": (a, d), "bA": (a,), "bB": (d,)}


def draw(shape, random):
    """A block with standard normal numbers."""
    return {name: random.standard_normal(axes) for name, axes in shape.tensors().items()}


def gauge(size, random, condition):
    """A random invertible matrix with condition number at most `condition`."""
    left, right = (np.linalg.qr(random.standard_normal((size, size)))[0] for _ in range(2))
    return left @ np.diag(condition ** random.uniform(-0.5, 0.5, size)) @ right


def moved(block, random, condition=10):
    """The block moved by a random element of its group: it computes the same."""
    block = dict(block)
    for first, second, transposed in (("Q", "K", True), ("V", "O", False)):
        size = block[first].shape[2]
        gauges = np.stack([gauge(size, random, condition) for _ in block[first]])
        inverses = np.linalg.inv(gauges)
        block[first] = block[first] @ gauges
        block[second] = block[second] @ inverses.transpose(0, 2, 1) if transposed else inverses @ block[second]
    heads = random.permutation(len(block["Q"]))
    for name in "QKVO":
        block[name] = block[name][heads]
    between = random.permutation(len(block["A"]))  # coordinates between attention and perceptron
    block["O"], block["A"] = block["O"][:, :, between], block["A"][between]
    units = random.permutation(len(block["B"]))
    block["A"], block["bA"], block["B"] = block["A"][:, units], block["bA"][units], block["B"][units]
    return block


def output(block, x):
    """What the block computes, for tokens x: n x D, without residual connections."""
    attended = 0
    for q, k, v, o in zip(*(block[name] for name in "QKVO")):
        weights = np.exp(x @ q @ (x @ k).T)
        attended = attended + weights / weights.sum(1, keepdims=True) @ x @ v @ o
    return normed(np.maximum(normed(attended) @ block["A"] + block["bA"], 0) @ block["B"] + block["bB"])


def normed(x):
    return (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)


def write(path, blocks, dtype="F32", **more):
    """One transformer; `more` are tensors besides those of blocks, dots in their names written as two underscores."""
    file = safetensors_numpy.TensorFile()
    for number, block in enumerate(blocks):
        for name, values in block.items():
            file.store(f"block{number}.{name}", values, dtype)
    for name, values in more.items():
        file.store(name.replace("__", "."), values, dtype)
    safetensors_numpy.write(path, file)


def write_labels(path, labels):
    """Of a dictionary from file names to numbers."""
    path.write_text("".join(["file,label\n", *(f"{name},{float(label)!r}\n" for name, label in labels.items())]))
