"""A BERT model directory as NumPy sees it: its config, its tensors, and where each attention head lies in them."""

import json
from dataclasses import dataclass
from pathlib import Path

import safetensors_numpy

SLOTS = {
    "query": "attention.self.query", "key": "attention.self.key",
    "value": "attention.self.value", "output": "attention.output.dense",
}


@dataclass
class BertModel:
    config: dict
    tensors: safetensors_numpy.TensorFile

    @property
    def layers(self):
        return self.config["num_hidden_layers"]

    @property
    def heads(self):
        return self.config["num_attention_heads"]

    @property
    def width(self):
        return self.config["hidden_size"]

    def tensor(self, name):
        return self.tensors.numbers(self.full_name(name))

    def full_name(self, name):
        """Some files put everything under `bert.`"""
        return name if name in self.tensors else "bert." + name

    def attention_name(self, layer, slot, part):
        """The tensor of one projection: slot query, key, value or output; part weight or bias."""
        return self.full_name(f"encoder.layer.{layer}.{SLOTS[slot]}.{part}")

    def attention(self, layer, slot, part):
        return self.tensors.numbers(self.attention_name(layer, slot, part))

    def rows(self, head):
        """Rows of the head in the query, key and value projections, and its columns in the output projection."""
        size = self.width // self.heads
        return slice(head * size, (head + 1) * size)


def load(directory):
    directory = Path(directory)
    config = json.loads((directory / "config.json").read_text())
    return BertModel(config, safetensors_numpy.read(directory / "model.safetensors"))
