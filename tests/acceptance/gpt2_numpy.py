"""A whole GPT-2 in float64, independent of the code under test. gpt-nano-sort is one: it sorts digits."""

import math

import numpy as np

import family_model


def sorted_by(directory, digits):
    """What the model writes after the digits: as many, in order if it can."""
    model = family_model.load(directory)
    tokens = list(digits)
    for _ in digits:
        tokens.append(int(logits(model, tokens)[-1].argmax()))
    return tokens[len(digits):]


def logits(model, tokens):
    """[n, vocabulary]"""
    tensor = model.tensors.numbers
    x = tensor("transformer.wte.weight")[tokens] + tensor("transformer.wpe.weight")[:len(tokens)]
    for layer in range(model.layers):
        name = f"transformer.h.{layer}."
        x = x + model.attend(layer, _layer_norm(model, name + "ln_1", x))
        inner = _gelu(_conv1d(model, name + "mlp.c_fc", _layer_norm(model, name + "ln_2", x)))
        x = x + _conv1d(model, name + "mlp.c_proj", inner)
    head = "lm_head.weight" if "lm_head.weight" in model.tensors else "transformer.wte.weight"
    return _layer_norm(model, "transformer.ln_f", x) @ tensor(head).T


def _conv1d(model, name, x):
    """GPT-2 stores its linear maps [in, out]."""
    return x @ model.tensors.numbers(name + ".weight") + model.tensors.numbers(name + ".bias")


def _layer_norm(model, name, x):
    centred = x - x.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + model.config["layer_norm_epsilon"])
    return centred / deviation * model.tensors.numbers(name + ".weight") + model.tensors.numbers(name + ".bias")


def _gelu(x):
    """gelu_new, the tanh approximation."""
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
