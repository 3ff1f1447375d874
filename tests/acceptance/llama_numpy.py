"""A whole Llama in float64, independent of the code under test: what it says next."""

import numpy as np

import family_model


def greedy_tokens(directory, start, count):
    """The tokens of start, and after them the likeliest ones until there are count, or the model ends the text."""
    model = family_model.load(directory)
    tokens = list(start)
    while len(tokens) < count:
        tokens.append(int(logits(model, tokens)[-1].argmax()))
        if tokens[-1] == model.config.get("eos_token_id"):
            break
    return tokens


def smallest_lead(directory, tokens, after=1):
    """By how much the logit of each token from `after` on at least leads the runner-up: text is as stable as that."""
    model = family_model.load(directory)
    two_best = np.sort(logits(model, tokens[:-1])[after - 1:], axis=1)[:, -2:]
    return float((two_best[:, 1] - two_best[:, 0]).min())


def logits(model, tokens):
    """[n, vocabulary]"""
    tensor = model.tensors.numbers
    x = tensor("model.embed_tokens.weight")[tokens]
    for layer in range(model.layers):
        name = f"model.layers.{layer}."
        x = x + model.attend(layer, _rms_norm(model, name + "input_layernorm", x))
        x = x + _mlp(model, name + "mlp.", _rms_norm(model, name + "post_attention_layernorm", x))
    head = "lm_head.weight" if "lm_head.weight" in model.tensors else "model.embed_tokens.weight"
    return _rms_norm(model, "model.norm", x) @ tensor(head).T


def _rms_norm(model, name, x):
    size = np.sqrt((x**2).mean(axis=1, keepdims=True) + model.config["rms_norm_eps"])
    return x / size * model.tensors.numbers(name + ".weight")


def _mlp(model, name, x):
    gate, up, down = (model.tensors.numbers(f"{name}{part}_proj.weight") for part in ("gate", "up", "down"))
    gates = x @ gate.T
    return (gates / (1 + np.exp(-gates)) * (x @ up.T)) @ down.T
