"""Claims about check --explain --scope model: slips that concern a whole model, made in NumPy, and named."""

from functools import partial
from itertools import combinations, count

import numpy as np

import family_elements
import family_fixtures
import family_model
import model_passes as passes
from report import Claim, require


def claims():
    named = [Claim(f"{name}: slips of whole models are named", partial(_named, name)) for name in SLIPS]
    return named + [
        Claim("pairs of slips of whole models are named", _paired),
        Claim("a slip of a whole model beside one of attention", _beside_attention),
        Claim("no slip of whole models is named on equal ones", _equal),
        Claim("no slip of whole models is named on unrelated ones", _unrelated),
        Claim("what differs in an MLP and in some embeddings is said", _parts),
    ]


# Slips: words of their names, and how to make them in an open model.

def _every_gain(change):
    def edit(model):
        for name in list(model.tensors.stored):
            if name.endswith(("norm.weight", "layernorm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight")):
                model.tensors.store(name, change(model.tensors.numbers(name)))
    return edit


def _exchange(one, other):
    def edit(model):
        for layer in range(model.layers):
            names = [f"model.layers.{layer}.{part}.weight" for part in (one, other)]
            first, second = (model.tensors.numbers(name) for name in names)
            model.tensors.store(names[0], second)
            model.tensors.store(names[1], first)
    return edit


def _configure(key, value):
    def edit(model):
        require(key in model.config and model.config[key] != value, f"{key} is {model.config.get(key)}")
        model.config[key] = value
    return edit


def _lose_head(model):
    del model.tensors.stored["lm_head.weight"]
    model.config["tie_word_embeddings"] = True


SLIPS = {
    "llama": {
        "gains of norms are stored less one": _every_gain(lambda gain: gain - 1),
        "gains of norms are stored as they are": _every_gain(lambda gain: gain + 1),
        "gate and up projections of MLPs are exchanged": _exchange("mlp.gate_proj", "mlp.up_proj"),
        "the norms in front of attention and of MLPs": _exchange("input_layernorm", "post_attention_layernorm"),
        "another epsilon of norms": _configure("rms_norm_eps", 1e-3),
        "the unembedding was lost": _lose_head,
    },
    "llama-tied": {"the unembedding is not the embedding": passes.untie},
    "gpt2": {
        "another activation": _configure("activation_function", "gelu"),
        "another epsilon of norms": _configure("layer_norm_epsilon", 1e-3),
    },
    "gemma2": {
        "gains of norms are stored as they are": _every_gain(lambda gain: gain + 1),
        "the norms behind attention and in front of MLPs": _exchange("post_attention_layernorm",
                                                                    "pre_feedforward_layernorm"),
        "the norms behind attention and behind MLPs": _exchange("post_attention_layernorm",
                                                               "post_feedforward_layernorm"),
        "another cap of logits": _configure("final_logit_softcapping", 10.0),
    },
}


_number = count()


def _source(bench, name, seed=1):
    """Models of the llama family have a head of their own here, unless they are tied by name."""
    target = bench.folder / f"model-slips-{name}-{seed}"
    if not target.exists():
        made = bench.folder / f"model-slips-made-{name}-{seed}"
        family_fixtures.make(name.removesuffix("-tied"), made, seed=seed)
        with family_model.edited_copy(made, target) as model:
            if name == "llama":
                passes.untie(model)
    return target


def _explained(bench, name, edits):
    source, slipped = _source(bench, name), bench.scratch(f"slipped-{next(_number)}")
    with family_model.edited_copy(source, slipped) as model:
        for edit in edits:
            edit(model)
    return bench.attnsym.model_explanation(source, slipped)


def _require_slips(explained, wanted):
    slips = explained["slips"]
    found = len(slips) == len(wanted) and all(any(words in text for text in slips) for words in wanted)
    require(found, f"{wanted}: {slips}, parts {[part['part'] for part in explained['parts']]}")


def _named(name, bench):
    for words, edit in SLIPS[name].items():
        explained = _explained(bench, name, [edit])
        _require_slips(explained, [words])
        require(explained["attention"] == [] and explained["parts"] == [], f"{words}: {explained}")
    return f"{len(SLIPS[name])} slips"


def _paired(bench):
    one_more = [words for words in SLIPS["llama"] if "as they are" not in words]  # one undoes the other
    pairs = list(combinations(one_more, 2))
    for pair in pairs:
        explained = _explained(bench, "llama", [SLIPS["llama"][words] for words in pair])
        _require_slips(explained, pair)
        require(explained["attention"] == [] and explained["parts"] == [], f"{pair}: {explained}")
    return f"{len(pairs)} pairs"


def _beside_attention(bench):
    element = next(one for one in family_elements.WRONG if one.name == "query and key exchanged")

    def exchange(model):
        for layer in range(model.layers):
            model.store(layer, element.move(model.attention(layer), model.heads(layer), None))

    explained = _explained(bench, "gpt2", [exchange, SLIPS["gpt2"]["another activation"]])
    _require_slips(explained, ["another activation"])
    texts = [[slip["text"] for slip in layer["slips"]] for layer in explained["attention"]]
    require(texts and all(len(t) == 1 and "queries and keys are exchanged" in t[0] for t in texts), f"{texts}")
    return f"{explained['slips'][0]}; {texts[0][0]}"


def _equal(bench):
    for name in SLIPS:
        source, acted = _source(bench, name), bench.scratch(f"acted-{name}")
        bench.attnsym.rewrite_model("act", source, acted, "--seed", 7)
        explained = bench.attnsym.model_explanation(source, acted)
        require(not any(explained.values()), f"{name}: {explained}")
    return f"{len(SLIPS)} models"


def _unrelated(bench):
    for name in SLIPS:
        explained = bench.attnsym.model_explanation(_source(bench, name), _source(bench, name, seed=2))
        require(explained["slips"] == [], f"{name}: {explained['slips']}")
        kinds = {tensor["kind"] for part in explained["parts"] for tensor in part["tensors"]
                 if len(part["tensors"]) > 0 and "norm" not in tensor["tensor"]}
        require("other weights, or another basis" in kinds, f"{name}: {kinds}")
    return f"{len(SLIPS)} models"


def _parts(bench):
    source, target = _source(bench, "llama"), bench.scratch("trained")
    down = "model.layers.1.mlp.down_proj.weight"
    random = np.random.default_rng(5)
    with family_model.edited_copy(source, target) as model:
        weight = model.tensors.numbers(down)
        adapter = random.standard_normal((weight.shape[0], 2)) @ random.standard_normal((2, weight.shape[1]))
        model.tensors.store(down, weight + 0.1 * np.linalg.norm(weight) / np.linalg.norm(adapter) * adapter)
        embedding = model.tensors.numbers("model.embed_tokens.weight")
        embedding[[3, 6]] += random.standard_normal((2, embedding.shape[1])) * embedding.std()
        model.tensors.store("model.embed_tokens.weight", embedding)
    parts = bench.attnsym.model_explanation(source, target)["parts"]
    require({part["part"] for part in parts} == {"block 1 MLP", "embeddings"}, f"{parts}")
    tensors = {tensor["tensor"]: tensor for part in parts for tensor in part["tensors"]}
    require(set(tensors) == {down, "model.embed_tokens.weight"}, f"{set(tensors)}")
    require("rank 2" in tensors[down]["kind"], tensors[down]["kind"])
    require(tensors["model.embed_tokens.weight"]["first_changed"] == [3, 6], f"{tensors}")
    return f"{down}: {tensors[down]['kind']}; embeddings of tokens 3 and 6"
