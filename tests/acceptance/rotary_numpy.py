"""Rotary positions: how fast each pair turns, for every kind of scaling that config.json knows."""

import math

import numpy as np


def frequencies(parameters, width, longest):
    """Radians per position of each pair, and the factor on cosine and sine.

    `parameters` are the rope parameters of config.json with rope_type and rope_theta filled in; `width` entries of a
    head turn; `longest` is max_position_embeddings. Sequences are taken to be no longer than the model was trained for.
    """
    plain = parameters["rope_theta"] ** (-np.arange(0, width, 2) / width)
    return KINDS[parameters["rope_type"]](plain, parameters, longest)


def rotate(x, angles):
    """x [..., n, head]: entries i and i + w/2 of the first w turn by angles [n, w/2], the others stay."""
    half = angles.shape[1]
    first, second, still = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, still], axis=-1)


def _default(plain, parameters, longest):
    return plain, 1.0


def _linear(plain, parameters, longest):
    return plain / parameters["factor"], 1.0


def _llama3(plain, parameters, longest):
    """Slow pairs are slowed down by the factor, fast ones are not, and in between it changes gradually."""
    original = parameters.get("original_max_position_embeddings", longest)
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    turns = original * plain / (2 * np.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return plain * (kept + (1 - kept) / parameters["factor"]), 1.0


def _yarn(plain, parameters, longest):
    original = parameters.get("original_max_position_embeddings", longest)
    factor, half = parameters["factor"], len(plain)

    def pair_with(turns):
        """The pair, a real number, that turns so often over the original length."""
        return half * math.log(original / (2 * math.pi * turns)) / math.log(parameters["rope_theta"])

    low, high = pair_with(parameters.get("beta_fast") or 32), pair_with(parameters.get("beta_slow") or 1)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * half - 1)
    slowed = np.clip((np.arange(half) - low) / ((high - low) or 0.001), 0, 1)
    return plain * (1 - slowed + slowed / factor), _yarn_gain(parameters, factor)


def _yarn_gain(parameters, factor):
    def gain(scale):
        return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0

    if parameters.get("attention_factor") is not None:
        return parameters["attention_factor"]
    if parameters.get("mscale") and parameters.get("mscale_all_dim"):
        return gain(parameters["mscale"]) / gain(parameters["mscale_all_dim"])
    return gain(1)


def _longrope(plain, parameters, longest):
    original = parameters["original_max_position_embeddings"]
    factor = parameters.get("factor") or longest / original
    gain = parameters.get("attention_factor")
    if gain is None:
        gain = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return plain / np.array(parameters["short_factor"]), gain


KINDS = {"default": _default, "linear": _linear, "dynamic": _default, "llama3": _llama3, "yarn": _yarn,
         "longrope": _longrope}
