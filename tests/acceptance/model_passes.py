"""What tools do to whole models that should change nothing, and what goes wrong in it, written in NumPy.

Every function changes the tensors of a family_model.FamilyModel in place. Of GPT-2 the weights are [in, out].
"""

import numpy as np

GPT2 = "transformer."


def untie(model, seed=3):
    """A head of its own, for models whose embeddings are tied."""
    name = next(name for name in model.tensors.stored if name.endswith(("embed_tokens.weight", "wte.weight")))
    embedding = model.tensors.numbers(name)
    head = embedding[::-1] + np.random.default_rng(seed).standard_normal(embedding.shape) * embedding.std()
    model.tensors.store("lm_head.weight", head, model.tensors.dtypes[name])
    for config in (model.config, model.config.get("text_config", model.config)):
        config["tie_word_embeddings"] = False


def _edit(model, name, change):
    model.tensors.store(name, change(model.tensors.numbers(name)))


# The passes of interpretability tools, on GPT-2.

def fold_norms(model):
    """Gains and biases of norms into what reads behind them; the final bias has nowhere to go but over the gain."""
    for layer in range(model.layers):
        at = f"{GPT2}h.{layer}."
        for norm, reader in (("ln_1", "attn.c_attn"), ("ln_2", "mlp.c_fc")):
            gain, bias = (model.tensors.numbers(f"{at}{norm}.{part}") for part in ("weight", "bias"))
            weight = model.tensors.numbers(f"{at}{reader}.weight")
            _edit(model, f"{at}{reader}.bias", lambda b: b + bias @ weight)
            _edit(model, f"{at}{reader}.weight", lambda w: gain[:, None] * w)
            _edit(model, f"{at}{norm}.weight", np.ones_like)
            _edit(model, f"{at}{norm}.bias", np.zeros_like)
    gain = model.tensors.numbers(GPT2 + "ln_f.weight")
    _edit(model, "lm_head.weight", lambda w: w * gain)
    _edit(model, GPT2 + "ln_f.bias", lambda b: b / gain)
    _edit(model, GPT2 + "ln_f.weight", np.ones_like)


def centre_writers(model):
    names = [GPT2 + "wte.weight", GPT2 + "wpe.weight"]
    names += [f"{GPT2}h.{layer}.{part}" for layer in range(model.layers)
              for part in ("attn.c_proj.weight", "attn.c_proj.bias", "mlp.c_proj.weight", "mlp.c_proj.bias")]
    for name in names:
        _edit(model, name, lambda w: w - w.mean(axis=-1, keepdims=True))


def fold_value_biases(model):
    for layer in range(model.layers):
        heads = model.heads(layer)
        heads.output_bias = heads.output_bias + np.einsum("hdk,hk->d", heads.output, heads.value_bias)
        heads.value_bias = np.zeros_like(heads.value_bias)
        model.store(layer, heads)


def refactor_circuits(model):
    """Q K^T and V O of every head by their singular value decompositions."""
    for layer in range(model.layers):
        heads = model.heads(layer)
        for h in range(len(heads.query)):
            query = np.vstack([heads.query[h].T, heads.query_bias[h]])
            key = np.vstack([heads.key[h].T, heads.key_bias[h]])
            query, key = _balanced(query, key)
            heads.query[h], heads.query_bias[h] = query[:-1].T, query[-1]
            heads.key[h], heads.key_bias[h] = key[:-1].T, key[-1]
            value = np.vstack([heads.value[h].T, heads.value_bias[h]])
            value, output = _balanced(value, heads.output[h])
            heads.value[h], heads.value_bias[h] = value[:-1].T, value[-1]
            heads.output[h] = output
        model.store(layer, heads)


def _balanced(left, right):
    """a b^T = left right^T, with a and b as long as each other."""
    width = left.shape[1]
    u, sigma, vt = np.linalg.svd(left @ right.T, full_matrices=False)
    root = np.sqrt(sigma[:width])
    return u[:, :width] * root, vt[:width].T * root


def centre_unembedding(model):
    _edit(model, "lm_head.weight", lambda w: w - w.mean(axis=0))


# Rotations in the manner of QuaRot, on Llama.

def fold_gains(model):
    for layer in range(model.layers):
        at = f"model.layers.{layer}."
        readers = {"input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                   "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj")}
        for norm, modules in readers.items():
            gain = model.tensors.numbers(f"{at}{norm}.weight")
            for module in modules:
                _edit(model, f"{at}{module}.weight", lambda w: w * gain)
            _edit(model, f"{at}{norm}.weight", np.ones_like)
    gain = model.tensors.numbers("model.norm.weight")
    _edit(model, "lm_head.weight", lambda w: w * gain)
    _edit(model, "model.norm.weight", np.ones_like)


def rotate_stream(model, seed=4):
    """By a random Hadamard-like matrix; gains are left alone."""
    width = model.tensors.numbers("model.norm.weight").size
    random = np.random.default_rng(seed)
    q = np.linalg.qr(random.standard_normal((width, width)))[0]
    names = ["model.embed_tokens.weight"] + (["lm_head.weight"] if "lm_head.weight" in model.tensors else [])
    for layer in range(model.layers):
        at = f"model.layers.{layer}."
        names += [at + f"self_attn.{part}_proj.weight" for part in "qkv"]
        names += [at + "mlp.gate_proj.weight", at + "mlp.up_proj.weight"]
        for writer in ("self_attn.o_proj", "mlp.down_proj"):
            _edit(model, f"{at}{writer}.weight", lambda w: q.T @ w)
    for name in names:
        _edit(model, name, lambda w: w @ q)


def quarot(model):
    fold_gains(model)
    rotate_stream(model)


# What goes wrong.

def remove_means(model):
    """Allowed behind LayerNorms, not behind RMS norms."""
    _edit(model, "model.embed_tokens.weight", lambda w: w - w.mean(axis=1, keepdims=True))


def scale_gate(model):
    at = "model.layers.1.mlp."
    _edit(model, at + "gate_proj.weight", lambda w: np.vstack([2 * w[:1], w[1:]]))
    _edit(model, at + "down_proj.weight", lambda w: np.hstack([w[:, :1] / 2, w[:, 1:]]))


def swap_neurons_in_up_only(model):
    _edit(model, "model.layers.0.mlp.up_proj.weight", lambda w: w[[1, 0, *range(2, len(w))]])


def drop_final_gain(model):
    _edit(model, "model.norm.weight", np.ones_like)


def add_one_to_gains(model):
    """As if gains were stored less one."""
    for layer in range(model.layers):
        _edit(model, f"model.layers.{layer}.input_layernorm.weight", lambda w: w + 1)


def permute_stream_but_not_gains(model):
    width = model.tensors.numbers("model.norm.weight").size
    order = np.roll(np.arange(width), 1)
    names = ["model.embed_tokens.weight"] + (["lm_head.weight"] if "lm_head.weight" in model.tensors else [])
    for layer in range(model.layers):
        at = f"model.layers.{layer}."
        names += [at + f"self_attn.{part}_proj.weight" for part in "qkv"]
        names += [at + "mlp.gate_proj.weight", at + "mlp.up_proj.weight"]
        for writer in ("self_attn.o_proj", "mlp.down_proj"):
            _edit(model, f"{at}{writer}.weight", lambda w: w[order])
    for name in names:
        _edit(model, name, lambda w: w[:, order])


def negative_relu_scale(model):
    at = f"{GPT2}h.1.mlp."
    _edit(model, at + "c_fc.weight", lambda w: np.hstack([-w[:, :1], w[:, 1:]]))
    _edit(model, at + "c_fc.bias", lambda b: np.concatenate([-b[:1], b[1:]]))
    _edit(model, at + "c_proj.weight", lambda w: np.vstack([-w[:1], w[1:]]))


def shift_positions_by_one_row(model):
    _edit(model, GPT2 + "wpe.weight", lambda w: np.roll(w, 1, axis=0))


def keep_norm_bias_after_folding(model):
    """The bias of a norm is folded and stays in place as well."""
    at = f"{GPT2}h.0."
    bias, weight = model.tensors.numbers(at + "ln_2.bias"), model.tensors.numbers(at + "mlp.c_fc.weight")
    _edit(model, at + "mlp.c_fc.bias", lambda b: b + bias @ weight)
