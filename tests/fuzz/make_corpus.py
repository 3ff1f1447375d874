#!/usr/bin/python3
"""Writes the seeds of the fuzz targets for GGUF and llama2.c: make_corpus.py OUTDIR. Needs NumPy. A few hundred bytes each."""

import struct
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "acceptance"))

import family_fixtures
import gguf_numpy
import numpy as np

ARCHITECTURES = ("gpt2", "llama", "llama-scaled", "qwen2", "qwen3", "gemma", "gemma2")


def tensor(kind, *shape):
    return kind, shape, gguf_numpy.encode(np.linspace(-1, 1, np.prod(shape)), kind)


def write_gguf_seeds(folder):
    for name in ARCHITECTURES:
        config = family_fixtures.FIXTURES[name]
        query = "blk.0.attn_qkv.weight" if name == "gpt2" else "blk.0.attn_q.weight"
        tensors = {"token_embd.weight": tensor("F32", 2, 4), query: tensor("F16", 2, 4)}
        if name == "llama-scaled":
            tensors["rope_freqs.weight"] = ("F32", (4,), np.arange(1, 5, dtype="<f4").tobytes())
        gguf_numpy.write_gguf(folder / name, gguf_numpy.metadata(config), tensors)
    kinds = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1")
    metadata = gguf_numpy.metadata(family_fixtures.FIXTURES["llama"])
    gguf_numpy.write_gguf(folder / "every-type", metadata, {kind: tensor(kind, 1, 32) for kind in kinds})
    scaled = {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0,
              "llama.rope.scaling.original_context_length": 16}
    gguf_numpy.write_gguf(folder / "yarn", metadata | scaled, {"a": tensor("F32", 4)}, version=2)
    gguf_numpy.write_gguf(folder / "nothing", {}, {})


def write_llama2c_seeds(folder):
    sizes = (4, 2, 1, 2, 1, 3, 2)
    per_layer = 4 + 16 + 8 + 8 + 16 + 4 + 3 * 8
    numbers = 12 + per_layer + 4
    tables = 4
    (folder / "first").write_bytes(struct.pack("<7i", *sizes) + bytes(4 * (numbers + tables)))
    untied = (*sizes[:5], -sizes[5], sizes[6])
    (folder / "untied").write_bytes(struct.pack("<7i", *untied) + bytes(4 * (numbers + tables + 12)))
    header = struct.pack("<Ii7iB", 0x616B3432, 1, *sizes, 1).ljust(256, b"\0")
    (folder / "version-1").write_bytes(header + bytes(4 * numbers))
    (folder / "version-2").write_bytes(struct.pack("<Ii", 0x616B3432, 2) + bytes(300))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, write in (("gguf", write_gguf_seeds), ("llama2c", write_llama2c_seeds)):
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        write(folder)


if __name__ == "__main__":
    main()
