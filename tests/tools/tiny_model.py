"""Writes BERT directories of a few kilobytes with the standard library alone."""

import json
import random
import struct
from dataclasses import dataclass
from pathlib import Path


@dataclass
class TinyModel:
    seed: int = 1
    width: int = 8
    heads: int = 2
    layers: int = 2
    largest: float = 1.0
    model_type: str = "bert"

    def write(self, directory):
        directory = Path(directory)
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps({
            "model_type": self.model_type, "hidden_size": self.width,
            "num_attention_heads": self.heads, "num_hidden_layers": self.layers}))
        (directory / "model.safetensors").write_bytes(safetensors(self._tensors()))
        (directory / "vocab.txt").write_text("[PAD]\n[UNK]\n")

    def _tensors(self):
        generator = random.Random(self.seed)
        for layer in range(self.layers):
            prefix = f"encoder.layer.{layer}.attention."
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                for part, shape in ((".weight", [self.width, self.width]), (".bias", [self.width])):
                    count = self.width ** len(shape)
                    yield prefix + name + part, shape, [self.largest * generator.uniform(-1, 1) for _ in range(count)]


def safetensors(tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, shape, values in tensors:
        stored = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(stored)]}
        data += stored
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data
