"""A model directory of any family: what the attention of a layer computes, and its heads to read and to change."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import attention_numpy
import families
import family_layout
import safetensors_numpy


@dataclass
class FamilyModel:
    config: dict
    family: families.Family
    tensors: safetensors_numpy.TensorFile

    @property
    def layers(self):
        config = self.config.get("text_config", self.config)
        return config.get("num_hidden_layers", config.get("n_layer"))

    def attention(self, layer):
        return self.family.attention(self.config, layer)

    def heads(self, layer):
        return family_layout.read(self.family.layout, self.tensors, layer, self.attention(layer))

    def store(self, layer, heads):
        family_layout.write(self.family.layout, self.tensors, layer, self.attention(layer), heads)

    def attend(self, layer, x):
        """Tokens x [n, width], as the attention module gets them: what it returns, [n, width]."""
        return attention_numpy.output(self.attention(layer), self.heads(layer), x)


def load(directory):
    directory = Path(directory)
    config = json.loads((directory / "config.json").read_text())
    return FamilyModel(config, families.find(config), safetensors_numpy.read(directory / "model.safetensors"))


@contextmanager
def edited_copy(source, target):
    """Yields the model; what became of its config and its tensors is then written to target, which must not exist."""
    shutil.copytree(source, target)
    model = load(target)
    yield model
    (Path(target) / "config.json").write_text(json.dumps(model.config, indent=2) + "\n")
    safetensors_numpy.write(Path(target) / "model.safetensors", model.tensors)
