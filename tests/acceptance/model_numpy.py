"""Whole models of every family in float64, independent of the code under test: the judge of what a model puts out.

Read off the modeling files of transformers. `outputs` gives logits, or the last hidden states of models without a head.
"""

import math
from dataclasses import dataclass
from typing import Callable

import numpy as np

import task_heads_numpy
from activations_numpy import ACTIVATIONS, gelu_tanh


@dataclass
class Spec:
    """Names of modules; {layer} is the layer's number."""

    embedding: str
    norms: dict                       # by place: attention, after_attention, mlp, after_mlp, embedding, final
    up: str
    down: str
    gate: str | None = None
    gate_up: str | None = None
    positions: str | None = None
    first_position: int = 0
    types: str | None = None
    class_token: str | None = None    # of a vision transformer, whose embedding is a projection of patches
    head: str | None = None
    activation: Callable = None       # of the config
    epsilon: str = "rms_norm_eps"
    centred: bool = False             # LayerNorm
    gain_offset: float = 0.0
    scaled: bool = False
    parallel: Callable = lambda config: False
    post: bool = False                # norms behind the sum
    tied: bool = False                # where the config does not say
    softcap: Callable = lambda config: None
    in_out: bool = False              # weights are [in, out]


def outputs(model, tokens):
    """model is a family_model.FamilyModel, tokens a list of ids."""
    return _Run(model).outputs(list(tokens))


class _Run:
    def __init__(self, model):
        self.model = model
        self.config = model.config.get("text_config", model.config)
        self.spec = _spec(model.config)

    def outputs(self, tokens):
        x = self.patches(tokens) if self.spec.class_token else self.embedded(tokens)
        for layer in range(self.model.layers):
            x = self.block(layer, x)
        if "final" in self.spec.norms:
            x = self.norm("final", x)
        if "architectures" in self.model.config:
            return task_heads_numpy.outputs(self.model, x, lambda: self.logits(x))
        return self.logits(x)

    def embedded(self, tokens):
        spec, tensor = self.spec, self.model.tensors.numbers
        x = tensor(spec.embedding + ".weight")[tokens]
        if spec.scaled:
            x = x * math.sqrt(x.shape[1])
        if spec.positions:
            x = x + tensor(spec.positions + ".weight")[spec.first_position:][:len(tokens)]
        if spec.types:
            x = x + tensor(spec.types + ".weight")[0]
        return self.norm("embedding", x) if "embedding" in spec.norms else x

    def patches(self, tokens):
        """Token k is a patch whose number k is one, all others zero; the last token is a patch of zeros."""
        spec, tensor = self.spec, self.model.tensors.numbers
        weight = tensor(spec.embedding + ".weight").reshape(len(tensor(spec.embedding + ".bias")), -1)
        seen = np.eye(weight.shape[1] + 1, weight.shape[1])[tokens] @ weight.T + tensor(spec.embedding + ".bias")
        return np.vstack([tensor(spec.class_token)[0], seen]) + tensor(spec.positions)[0]

    def block(self, layer, x):
        spec = self.spec
        normed = self.norm("attention", x, layer) if "attention" in spec.norms else x
        attended = self.model.attend(layer, normed)
        if spec.parallel(self.config):
            name = spec.norms.get("mlp")
            own = name is not None and self._names(name, layer)[0] is not None
            return x + attended + self.mlp(layer, self.norm("mlp", x, layer) if own else normed)
        x = self.joined("after_attention", layer, x, attended)
        normed = self.norm("mlp", x, layer) if "mlp" in spec.norms else x
        return self.joined("after_mlp", layer, x, self.mlp(layer, normed))

    def joined(self, place, layer, x, brought):
        if place not in self.spec.norms:
            return x + brought
        if self.spec.post:
            return self.norm(place, x + brought, layer)
        return x + self.norm(place, brought, layer)

    def mlp(self, layer, x):
        spec, act = self.spec, self.spec.activation(self.config)
        if spec.gate_up:
            gate, up = np.split(self.linear(spec.gate_up, layer, x), 2, axis=1)
            return self.linear(spec.down, layer, act(gate) * up)
        if spec.gate:
            hidden = act(self.linear(spec.gate, layer, x)) * self.linear(spec.up, layer, x)
        else:
            hidden = act(self.linear(spec.up, layer, x))
        return self.linear(spec.down, layer, hidden)

    def linear(self, name, layer, x):
        name, tensors = name.format(layer=layer), self.model.tensors
        weight = tensors.numbers(name + ".weight")
        y = x @ (weight if self.spec.in_out else weight.T)
        return y + tensors.numbers(name + ".bias") if name + ".bias" in tensors else y

    def _names(self, names, layer):
        for name in (names if isinstance(names, tuple) else (names,)):
            name = name.format(layer=layer)
            for gain, bias in (("weight", "bias"), ("gamma", "beta")):
                if f"{name}.{gain}" in self.model.tensors:
                    return f"{name}.{gain}", f"{name}.{bias}"
        return None, None

    def norm(self, place, x, layer=None):
        gain, bias = self._names(self.spec.norms[place], layer)
        if self.spec.centred:
            x = x - x.mean(axis=1, keepdims=True)
        x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + self.config.get(self.spec.epsilon, 1e-6))
        x = x * (self.model.tensors.numbers(gain) + self.spec.gain_offset)
        return x + self.model.tensors.numbers(bias) if self.spec.centred else x

    def logits(self, x):
        spec, tensors = self.spec, self.model.tensors
        if spec.head is None:
            return x
        tied = self.model.config.get("tie_word_embeddings", self.config.get("tie_word_embeddings", spec.tied))
        y = x @ tensors.numbers((spec.embedding if tied else spec.head) + ".weight").T
        if spec.head + ".bias" in tensors:
            y = y + tensors.numbers(spec.head + ".bias")
        cap = spec.softcap(self.config)
        return cap * np.tanh(y / cap) if cap else y


def _named(key, default):
    return lambda config: ACTIVATIONS[config.get(key) or default]


def _llama(prefix="model.", **more):
    layer = prefix + "layers.{layer}."
    given = {"gate": layer + "mlp.gate_proj", "up": layer + "mlp.up_proj", "down": layer + "mlp.down_proj",
             "norms": {"attention": layer + "input_layernorm", "mlp": layer + "post_attention_layernorm",
                       "final": prefix + "norm"},
             "head": "lm_head", "activation": _named("hidden_act", "silu")}
    return Spec(prefix + "embed_tokens", **{**given, **more})


def _gemma(prefix="model.", sandwich=True, **more):
    layer = prefix + "layers.{layer}."
    if sandwich:
        more["norms"] = {"attention": layer + "input_layernorm", "after_attention": layer + "post_attention_layernorm",
                         "mlp": layer + "pre_feedforward_layernorm", "after_mlp": layer + "post_feedforward_layernorm",
                         "final": prefix + "norm"}
    return _llama(prefix, activation=_named("hidden_activation", "gelu_pytorch_tanh"), gain_offset=1.0, scaled=True,
                  tied=True, **more)


def _bert(prefix, first_position):
    layer = prefix + "encoder.layer.{layer}."
    return Spec(prefix + "embeddings.word_embeddings", positions=prefix + "embeddings.position_embeddings",
                first_position=first_position, types=prefix + "embeddings.token_type_embeddings",
                norms={"embedding": prefix + "embeddings.LayerNorm",
                       "after_attention": layer + "attention.output.LayerNorm", "after_mlp": layer + "output.LayerNorm"},
                up=layer + "intermediate.dense", down=layer + "output.dense", activation=_named("hidden_act", "gelu"),
                epsilon="layer_norm_eps", centred=True, post=True)


def _vit():
    layer = "vit.encoder.layer.{layer}."
    return Spec("vit.embeddings.patch_embeddings.projection", positions="vit.embeddings.position_embeddings",
                class_token="vit.embeddings.cls_token",
                norms={"attention": layer + "layernorm_before", "mlp": layer + "layernorm_after", "final": "vit.layernorm"},
                up=layer + "intermediate.dense", down=layer + "output.dense", activation=_named("hidden_act", "gelu"),
                epsilon="layer_norm_eps", centred=True)


def _four_h(prefix, embedding, layers, norms, **more):
    layer = f"{prefix}{layers}.{{layer}}."
    norms = {place: prefix + name if place in ("final", "embedding") else
             tuple(layer + part for part in name) if isinstance(name, tuple) else layer + name
             for place, name in norms.items()}
    return Spec(prefix + embedding, norms=norms, up=layer + "mlp.dense_h_to_4h", down=layer + "mlp.dense_4h_to_h",
                centred=True, **more)


def _falcon(config):
    grouped = config.get("new_decoder_architecture", False)
    norms = ({"attention": ("ln_attn", "input_layernorm"), "mlp": "ln_mlp"} if grouped else
             {"attention": "input_layernorm", "mlp": "post_attention_layernorm"})
    return _four_h("transformer.", "word_embeddings", "h", {**norms, "final": "ln_f"}, head="lm_head", tied=True,
                   epsilon="layer_norm_epsilon", activation=_named("activation", "gelu"),
                   parallel=lambda c: grouped or c.get("parallel_attn", True))


def _spec(config):
    kind = config["model_type"]
    if kind == "falcon":
        return _falcon(config)
    return {
        "bert": lambda: _bert("bert.", 0),
        "roberta": lambda: _bert("roberta.", 2),
        "vit": _vit,
        "gpt2": lambda: Spec(
            "transformer.wte", positions="transformer.wpe",
            norms={"attention": "transformer.h.{layer}.ln_1", "mlp": "transformer.h.{layer}.ln_2",
                   "final": "transformer.ln_f"},
            up="transformer.h.{layer}.mlp.c_fc", down="transformer.h.{layer}.mlp.c_proj", head="lm_head", tied=True,
            activation=_named("activation_function", "gelu_new"), epsilon="layer_norm_epsilon", centred=True,
            in_out=True),
        "gpt_neox": lambda: _four_h(
            "gpt_neox.", "embed_in", "layers",
            {"attention": "input_layernorm", "mlp": "post_attention_layernorm", "final": "final_layer_norm"},
            head="embed_out", epsilon="layer_norm_eps", activation=_named("hidden_act", "gelu"),
            parallel=lambda c: c.get("use_parallel_residual", True)),
        "bloom": lambda: _four_h(
            "transformer.", "word_embeddings", "h",
            {"embedding": "word_embeddings_layernorm", "attention": "input_layernorm",
             "mlp": "post_attention_layernorm", "final": "ln_f"},
            head="lm_head", tied=True, epsilon="layer_norm_epsilon", activation=lambda c: gelu_tanh),
        "llama": _llama, "mistral": _llama, "qwen2": _llama, "qwen3": _llama,
        "gemma": lambda: _gemma(sandwich=False),
        "gemma2": lambda: _gemma(softcap=lambda c: c.get("final_logit_softcapping", 30.0)),
        "gemma3_text": _gemma,
        "gemma3": lambda: _gemma("model.language_model."),
        "phi": lambda: Spec(
            "model.embed_tokens", norms={"attention": "model.layers.{layer}.input_layernorm",
                                         "final": "model.final_layernorm"},
            up="model.layers.{layer}.mlp.fc1", down="model.layers.{layer}.mlp.fc2", head="lm_head",
            activation=_named("hidden_act", "gelu_new"), epsilon="layer_norm_eps", centred=True,
            parallel=lambda c: True),
        "phi3": lambda: _llama(gate=None, gate_up="model.layers.{layer}.mlp.gate_up_proj"),
        "olmo2": lambda: _llama(norms={
            "after_attention": "model.layers.{layer}.post_attention_layernorm",
            "after_mlp": "model.layers.{layer}.post_feedforward_layernorm", "final": "model.norm"}),
    }[kind]()
