"""The model families: per family where its tensors are, what its config means, and a small config of its own kind."""

from dataclasses import dataclass
from typing import Callable

import family_config as config_of
from family_layout import Layout, blocks, per_group

LLAMA = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Family:
    """`others` are the tensors outside of attention, with their axes: D the width, I the MLP, V the vocabulary,
    P the positions, or a number. {layer} stands for every layer."""

    layout: Layout
    attention: Callable  # of config and layer
    others: dict
    biased: tuple = (False, False)  # query, key and value; output. Where the config does not say


def _decoder(prefix, norms, mlp):
    others = {prefix + "embed_tokens.weight": "V D", prefix + "norm.weight": "D"}
    others |= {f"{prefix}layers.{{layer}}.{norm}.weight": "D" for norm in norms}
    return others | {f"{prefix}layers.{{layer}}.mlp.{name}.weight": axes for name, axes in mlp.items()}


def _with_biases(prefix, modules):
    """Linear maps and LayerNorms, each with a bias as long as its weight's first axis."""
    weights = {f"{prefix}{name}.weight": axes for name, axes in modules.items()}
    return weights | {f"{prefix}{name}.bias": axes.split()[0] for name, axes in modules.items()}


SWIGLU = {"gate_proj": "I D", "up_proj": "I D", "down_proj": "D I"}
PRE_NORM = ("input_layernorm", "post_attention_layernorm")
SANDWICH = (*PRE_NORM, "pre_feedforward_layernorm", "post_feedforward_layernorm")
NEOX_LAYER = {**dict.fromkeys(PRE_NORM, "D"), "mlp.dense_h_to_4h": "I D", "mlp.dense_4h_to_h": "D I"}
POST_NORM = ("post_attention_layernorm", "post_feedforward_layernorm")


def _llama_like(attention, norms=PRE_NORM, gains=(), prefix="model.", biased=(False, False)):
    layout = Layout(prefix + "layers.{layer}.self_attn.", LLAMA, "o_proj", gains=gains)
    return Family(layout, attention, _decoder(prefix, norms, SWIGLU), biased)


def _bert_like(prefix):
    others = {f"{prefix}embeddings.{table}_embeddings.weight": axes
              for table, axes in (("word", "V D"), ("position", "P D"), ("token_type", "2 D"))}
    others |= _with_biases(prefix, {"embeddings.LayerNorm": "D"})
    layer = prefix + "encoder.layer.{layer}."
    others |= _with_biases(layer, {"attention.output.LayerNorm": "D", "intermediate.dense": "I D",
                                   "output.dense": "D I", "output.LayerNorm": "D"})
    layout = Layout(layer + "attention.", ("self.query", "self.key", "self.value"), "output.dense")
    return Family(layout, config_of.bert, others, biased=(True, True))


def _vit():
    others = {"vit.embeddings.cls_token": "1 1 D", "vit.embeddings.position_embeddings": "1 P D"}
    others |= _with_biases("vit.encoder.layer.{layer}.", {
        "layernorm_before": "D", "layernorm_after": "D", "intermediate.dense": "I D", "output.dense": "D I"})
    others |= _with_biases("vit.", {"embeddings.patch_embeddings.projection": "D 3 2 2", "layernorm": "D"})
    module = "vit.encoder.layer.{layer}.attention."
    projections = tuple(f"attention.{slot}" for slot in ("query", "key", "value"))
    return Family(Layout(module, projections, "output.dense"), config_of.vit, others, biased=(True, True))


def _gpt2():
    others = {"transformer.wte.weight": "V D", "transformer.wpe.weight": "P D",
              "transformer.h.{layer}.attn.bias": "1 1 P P", "transformer.h.{layer}.attn.masked_bias": "",
              "transformer.h.{layer}.mlp.c_fc.weight": "D I", "transformer.h.{layer}.mlp.c_fc.bias": "I",
              "transformer.h.{layer}.mlp.c_proj.weight": "I D", "transformer.h.{layer}.mlp.c_proj.bias": "D"}
    others |= _with_biases("transformer.h.{layer}.", {"ln_1": "D", "ln_2": "D"})
    others |= _with_biases("transformer.", {"ln_f": "D"})
    layout = Layout("transformer.h.{layer}.attn.", ("c_attn",), "c_proj", packing=blocks, transposed=True)
    return Family(layout, config_of.gpt2, others, biased=(True, True))


def _gpt_neox():
    others = {"gpt_neox.embed_in.weight": "V D", "embed_out.weight": "V D"}
    others |= _with_biases("gpt_neox.layers.{layer}.", NEOX_LAYER)
    others |= _with_biases("gpt_neox.", {"final_layer_norm": "D"})
    layout = Layout("gpt_neox.layers.{layer}.attention.", ("query_key_value",), "dense", packing=per_group)
    return Family(layout, config_of.gpt_neox, others, biased=(True, True))


def _bloom():
    others = {"transformer.word_embeddings.weight": "V D"}
    others |= _with_biases("transformer.h.{layer}.", NEOX_LAYER)
    others |= _with_biases("transformer.", {"word_embeddings_layernorm": "D", "ln_f": "D"})
    layout = Layout("transformer.h.{layer}.self_attention.", ("query_key_value",), "dense", packing=per_group)
    return Family(layout, config_of.bloom, others, biased=(True, True))


def _falcon(packing, norms, biased=False):
    others = {"transformer.word_embeddings.weight": "V D"}
    others |= _with_biases("transformer.h.{layer}.", dict.fromkeys(norms, "D"))
    others |= {"transformer.h.{layer}.mlp.dense_h_to_4h.weight": "I D",
               "transformer.h.{layer}.mlp.dense_4h_to_h.weight": "D I"}
    if biased:
        others |= {"transformer.h.{layer}.mlp.dense_h_to_4h.bias": "I", "transformer.h.{layer}.mlp.dense_4h_to_h.bias": "D"}
    others |= _with_biases("transformer.", {"ln_f": "D"})
    layout = Layout("transformer.h.{layer}.self_attention.", ("query_key_value",), "dense", packing=packing)
    return Family(layout, config_of.falcon, others)


def _phi():
    others = {"model.embed_tokens.weight": "V D"}
    others |= _with_biases("model.layers.{layer}.", {"input_layernorm": "D", "mlp.fc1": "I D", "mlp.fc2": "D I"})
    others |= _with_biases("", {"model.final_layernorm": "D", "lm_head": "V D"})
    layout = Layout("model.layers.{layer}.self_attn.", LLAMA, "dense")
    return Family(layout, config_of.phi, others, biased=(True, True))


def _phi3():
    others = _decoder("model.", PRE_NORM, {"gate_up_proj": "2I D", "down_proj": "D I"}) | {"lm_head.weight": "V D"}
    layout = Layout("model.layers.{layer}.self_attn.", ("qkv_proj",), "o_proj", packing=blocks)
    return Family(layout, config_of.phi3, others)


GAINS = ("q_norm", "k_norm")
FAMILIES = {
    "bert": _bert_like("bert."),
    "roberta": _bert_like("roberta."),
    "vit": _vit(),
    "gpt2": _gpt2(),
    "gpt_neox": _gpt_neox(),
    "bloom": _bloom(),
    "falcon-grouped": _falcon(per_group, ("ln_attn", "ln_mlp")),
    "falcon-multi-query": _falcon(blocks, ("input_layernorm",)),
    "falcon-per-head": _falcon(per_group, ("input_layernorm", "post_attention_layernorm"), biased=True),
    "llama": _llama_like(config_of.llama),
    "mistral": _llama_like(config_of.mistral),
    "qwen2": _llama_like(config_of.qwen2, biased=(True, False)),
    "qwen3": _llama_like(config_of.qwen3, gains=GAINS),
    "gemma": _llama_like(config_of.gemma),
    "gemma2": _llama_like(config_of.gemma2, SANDWICH),
    "gemma3_text": _llama_like(config_of.gemma3, SANDWICH, GAINS),
    "gemma3": _llama_like(config_of.gemma3, SANDWICH, GAINS, prefix="model.language_model."),
    "phi": _phi(),
    "phi3": _phi3(),
    "olmo2": _llama_like(config_of.olmo2, POST_NORM, GAINS),
}


def find(config):
    """The family of a config.json."""
    kind = config["model_type"]
    if kind == "falcon":
        kind = "falcon-" + ("grouped" if config.get("new_decoder_architecture") else
                            "multi-query" if config.get("multi_query", True) else "per-head")
    return FAMILIES[kind]
