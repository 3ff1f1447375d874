"""Makes a small BERT with trained-looking weights, for checks and demonstrations offline: tiny_bert.py OUTDIR

Query and key of a head share directions and singular values fall off, as in trained models, so that heads are neither
degenerate nor interchangeable.
"""

import json
import sys
from pathlib import Path

import numpy as np

import safetensors_numpy

CONFIG = {
    "architectures": ["BertModel"], "model_type": "bert",
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
    "vocab_size": 64, "max_position_embeddings": 32, "type_vocab_size": 2,
    "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0, "position_embedding_type": "absolute",
}
TABLES = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}


def make(directory, seed=1):
    directory = Path(directory)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    safetensors_numpy.write(directory / "model.safetensors", _tensors(np.random.default_rng(seed)))


def _tensors(random):
    width, inner, file = CONFIG["hidden_size"], CONFIG["intermediate_size"], safetensors_numpy.TensorFile()
    file.metadata = {"format": "pt"}

    def add(name, values):
        file.store(name, values, "F32")

    def dense(name, weight):
        add(name + ".bias", 0.1 * random.standard_normal(len(weight)))
        add(name + ".weight", weight)

    def norm(name):
        add(name + ".LayerNorm.bias", 0.1 * random.standard_normal(width))
        add(name + ".LayerNorm.weight", 1 + 0.1 * random.standard_normal(width))

    norm("embeddings")
    for table, size in TABLES.items():
        add(f"embeddings.{table}_embeddings.weight", random.standard_normal((CONFIG[size], width)))
    for layer in range(CONFIG["num_hidden_layers"]):
        name = f"encoder.layer.{layer}."
        norm(name + "attention.output")
        query, key, value, output = _attention(random)
        dense(name + "attention.output.dense", output.T)
        dense(name + "attention.self.key", key)
        dense(name + "attention.self.query", query)
        dense(name + "attention.self.value", value)
        dense(name + "intermediate.dense", random.standard_normal((inner, width)) / width**0.5)
        norm(name + "output")
        dense(name + "output.dense", random.standard_normal((width, inner)) / inner**0.5)
    return file


def _attention(random):
    """Query, key, value and transposed output weights, head by head: [D, D] each."""
    heads = [_related(random) + _related(random) for _ in range(CONFIG["num_attention_heads"])]
    return [np.vstack(rows) for rows in zip(*heads)]


def _related(random):
    """Two factors of one circuit [size, D]: heavy-tailed, partly aligned, with falling singular values."""
    width = CONFIG["hidden_size"]
    size = width // CONFIG["num_attention_heads"]
    scale = random.uniform(0.5, 2) * np.geomspace(1, 0.2, size)[:, None] / width**0.5
    shared, first, second = random.standard_t(5, (3, size, width))
    return scale * (shared + first), scale * (shared + second)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: tiny_bert.py OUTDIR")
    make(sys.argv[1])
