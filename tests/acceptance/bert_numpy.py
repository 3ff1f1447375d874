"""BERT in float64, independent of the code under test: the judge of what a model computes."""

import math
from pathlib import Path

import numpy as np

import bert_model
import wordpiece

_erf = np.vectorize(math.erf, otypes=[np.float64])


def sentence_embeddings(directory, sentences):
    """Mean over the tokens, length 1, as sentence-transformers does for all-MiniLM-L6-v2. [sentences, D]"""
    vocabulary = wordpiece.load_vocabulary(Path(directory) / "vocab.txt")
    return embeddings(directory, [wordpiece.token_ids(sentence, vocabulary) for sentence in sentences])


def embeddings(directory, token_id_lists):
    """As sentence_embeddings, for a model without a tokenizer."""
    model = bert_model.load(directory)
    means = np.array([last_hidden_states(model, ids).mean(axis=0) for ids in token_id_lists])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def last_hidden_states(model, token_ids):
    """One sequence, no padding: [n] token ids to [n, D]."""
    positions = np.arange(len(token_ids))
    x = (model.tensor("embeddings.word_embeddings.weight")[token_ids]
         + model.tensor("embeddings.position_embeddings.weight")[positions]
         + model.tensor("embeddings.token_type_embeddings.weight")[0])
    x = _layer_norm(model, "embeddings.LayerNorm", x)
    for layer in range(model.layers):
        x = _encoder_layer(model, layer, x)
    return x


def attention_module(tensors, layer, heads, x):
    """What the attention of one layer returns for token rows x [n, D], before residual and LayerNorm.

    `tensors` is a safetensors_numpy.TensorFile.
    """
    config = {"num_attention_heads": heads, "hidden_size": x.shape[1]}
    return _attention(bert_model.BertModel(config, tensors), layer, x)


def _attention(model, layer, x):
    def project(slot, rows):
        return x @ model.attention(layer, slot, "weight")[rows].T + model.attention(layer, slot, "bias")[rows]

    mixed = []
    for rows in map(model.rows, range(model.heads)):
        q, k, v = (project(slot, rows) for slot in ("query", "key", "value"))
        mixed.append(_softmax(q @ k.T / math.sqrt(q.shape[1])) @ v)
    weight, bias = (model.attention(layer, "output", part) for part in ("weight", "bias"))
    return np.hstack(mixed) @ weight.T + bias


def _encoder_layer(model, layer, x):
    """Post-norm: LayerNorm after each residual sum."""
    name = f"encoder.layer.{layer}."
    x = _layer_norm(model, name + "attention.output.LayerNorm", x + _attention(model, layer, x))
    hidden = _gelu(_dense(model, name + "intermediate.dense", x))
    return _layer_norm(model, name + "output.LayerNorm", x + _dense(model, name + "output.dense", hidden))


def _dense(model, name, x):
    return x @ model.tensor(name + ".weight").T + model.tensor(name + ".bias")


def _layer_norm(model, name, x):
    centred = x - x.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + model.config["layer_norm_eps"])
    return centred / deviation * model.tensor(name + ".weight") + model.tensor(name + ".bias")


def _gelu(x):
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def _softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
