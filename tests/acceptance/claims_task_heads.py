"""Claims about classes of models, which say what the outputs are: base models and heads of tasks, judged by NumPy."""

from functools import partial

import numpy as np

import family_model
from claims_models import OUTPUTS, _distinct, _fixture, _same
from report import Claim, require

POOLER = {"bert.pooler.dense.weight": "DD", "bert.pooler.dense.bias": "D"}
WORDS = {"cls.predictions.transform.dense.weight": "DD", "cls.predictions.transform.dense.bias": "D",
         "cls.predictions.transform.LayerNorm.weight": "D", "cls.predictions.transform.LayerNorm.bias": "D",
         "cls.predictions.bias": "V"}
ROBERTA_WORDS = {"lm_head.dense.weight": "DD", "lm_head.dense.bias": "D", "lm_head.layer_norm.weight": "D",
                 "lm_head.layer_norm.bias": "D", "lm_head.bias": "V"}
CLASSIFIER = {"classifier.weight": "3D", "classifier.bias": "3"}
SCORE = {"score.weight": "3D"}

# By class: the fixture, and the tensors of its heads.
CLASSES = {
    "BertModel": ("bert", POOLER),
    "BertForMaskedLM": ("bert", WORDS),
    "BertForPreTraining": ("bert", {**WORDS, **POOLER, "cls.seq_relationship.weight": "3D",
                                    "cls.seq_relationship.bias": "3"}),
    "BertForSequenceClassification": ("bert", {**POOLER, **CLASSIFIER}),
    "BertForQuestionAnswering": ("bert", {"qa_outputs.weight": "3D", "qa_outputs.bias": "3"}),
    "RobertaForMaskedLM": ("roberta", ROBERTA_WORDS),
    "RobertaForSequenceClassification": ("roberta", {
        "classifier.dense.weight": "DD", "classifier.dense.bias": "D", "classifier.out_proj.weight": "3D",
        "classifier.out_proj.bias": "3"}),
    "ViTForImageClassification": ("vit", CLASSIFIER),
    "GPT2Model": ("gpt2", {}),
    "GPT2ForSequenceClassification": ("gpt2", SCORE),
    "GPT2ForTokenClassification": ("gpt2", CLASSIFIER),
    "LlamaModel": ("llama", {}),
    "LlamaForSequenceClassification": ("llama", SCORE),
    "LlamaForTokenClassification": ("llama", {**SCORE, "score.bias": "3"}),
    "Gemma2ForSequenceClassification": ("gemma2", SCORE),
    "BloomModel": ("bloom", {}),
}


def claims():
    return ([Claim(f"{name}: {what}", partial(show, name)) for name in CLASSES
             for what, show in (("moved and in canonical form", _moved), ("its heads edited", _edited))]
            + [Claim("classes that are not known are refused by name", _unknown),
               Claim("what other classes read is listed", _unread)])


def _of_class(bench, name, **more):
    """The fixture as this class, its heads at random, gains around 1."""
    fixture, tensors = CLASSES[name]
    target = bench.scratch("-".join(["class", name, *more]))
    if target.exists():
        return target
    random = np.random.default_rng(11)
    with family_model.edited_copy(_fixture(bench, fixture), target) as model:
        model.config["architectures"] = [name]
        embedding = next(n for n in model.tensors.stored if n.endswith(("word_embeddings.weight", "wte.weight",
                                                                        "embed_tokens.weight", "projection.weight")))
        sizes = {"D": model.config.get("hidden_size", model.config.get("n_embd")), "3": 3,
                 "V": len(model.tensors.numbers(embedding))}
        for tensor, axes in {**tensors, **more}.items():
            values = 0.3 * random.standard_normal([sizes[axis] for axis in axes])
            model.tensors.store(tensor, values + ("orm.weight" in tensor), "F32")
    return target


def _moved(name, bench):
    source, figures = _of_class(bench, name), []
    for command in ("act", "canonicalize"):
        moved = bench.scratch(f"{command}-{name}")
        bench.attnsym.rewrite_model(command, source, moved)
        figures.append(f"{command}: " + _same(bench, source, moved, command, OUTPUTS))
    if name.endswith("Model"):
        require("identity" in figures[0] and "identity" in figures[1], f"hidden states moved: {figures}")
    return "; ".join(figures)


def _edited(name, bench):
    source, said = _of_class(bench, name), "no heads"
    for number, tensor in enumerate(CLASSES[name][1]):
        edited = bench.scratch(f"edited-{name}-{number}")
        with family_model.edited_copy(source, edited) as model:
            values = model.tensors.numbers(tensor).copy()
            values.flat[values.size // 2] += 0.5
            model.tensors.store(tensor, values, "F32")
        said = _distinct(bench, source, edited, tensor)
    return said


def _unknown(bench):
    source = bench.scratch("double-heads")
    with family_model.edited_copy(_fixture(bench, "gpt2"), source) as model:
        model.config["architectures"] = ["GPT2DoubleHeadsModel"]
    said = bench.attnsym.refusal("canonicalize", source, "-o", bench.scratch("out"), "--scope", "model")
    require("'GPT2DoubleHeadsModel'" in said and "GPT2LMHeadModel" in said, said)
    return said[:60]


def _unread(bench):
    source = _of_class(bench, "BertForMaskedLM", **POOLER)
    listed = bench.attnsym.check_models(source, source)["unread"]
    require(sorted(listed) == sorted(POOLER), f"{listed}")
    said = bench.attnsym.refusal("act", source, "-o", bench.scratch("out"), "--scope", "model")
    require("pooler.dense" in said and "meets the stream" in said, said)
    return f"{listed}"
