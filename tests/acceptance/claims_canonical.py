"""Claims about the canonical form: it does not depend on the basis, is stable, and computes the same."""

import numpy as np

import bert_model
import bert_numpy
from command import HEAD_BEFORE
from report import Claim, Skipped, require

MEDIAN, WORST = 1e-5, 1e-4  # canonicalize(A) against canonicalize(act(A)), per stable head
TWICE = 1e-6                # applying it twice, or what the report expects if that is more,
SLACK = 10                  # an estimate of a typical change and not a bound
EMBEDDING = 1e-5            # entries, and 1 - cosine
SENTENCES = [
    "That is a happy person", "That is a very happy person", "Today is a sunny day",
    "The attention of a transformer does not change when its heads change their basis.",
    "Zwei Köpfe tauschen die Plätze, und niemand merkt es.", "1 + 1 = 2", "?",
    "A rather long sentence, with commas, brackets (like these), numbers such as 3.14159 and a few names: "
    "Emmy Noether, Évariste Galois, and 華羅庚; it only exists so that more than forty tokens attend to each other.",
]


def claims():
    return [
        Claim("canonicalize(A) = canonicalize(act(A)), condition 10, F32", _same_form),
        Claim("canonicalize leaves no free bias", _free_biases_are_zero),
        Claim("canonicalize twice changes nothing", _idempotent),
        Claim("check A canonicalize(A)", _equivalent),
        Claim("sentence embeddings, forward self-test", _published_similarities),
        Claim("sentence embeddings of canonicalize(A)", _sentences(lambda bench: bench.canonical())),
        Claim("sentence embeddings of act(A)", _sentences(lambda bench: bench.acted())),
        Claim("embeddings of random tokens, canonicalize(A)", _tokens(lambda bench: bench.canonical())),
        Claim("embeddings of random tokens, act(A)", _tokens(lambda bench: bench.acted())),
    ]


def _same_form(bench):
    first, second = bench.canonical(), bench.canonical(bench.acted().directory)
    changes = _head_changes(bench, first, second)
    both = _stable(first) & _stable(second)
    figures = (f"{both.sum()} of {both.size} heads stable; of them {_spread(changes[both])}; "
               f"others {_spread(changes[~both])}")
    require(both.mean() >= 0.5, figures)
    require(np.median(changes[both]) <= MEDIAN and changes[both].max() <= WORST, figures)
    constants = max(_output_bias_changes(bench, first, second))
    require(constants <= MEDIAN, f"{figures}; output bias {constants:.1e}")
    return f"{figures}; output bias {constants:.1e}"


def _idempotent(bench):
    once, twice = bench.canonical(), bench.canonical(bench.canonical().directory)
    changes, stable = _head_changes(bench, once, twice), _stable(twice)
    expected = _reported(twice, "expected_change")
    allowed = np.maximum(TWICE, SLACK * expected)
    moved = sum(head["head"] != head[HEAD_BEFORE] for layer in twice.report["layers"] for head in layer["heads"])
    figures = (f"{stable.sum()} of {stable.size} heads stable; of them {_spread(changes[stable])}, "
               f"up to {(changes / expected).max():.2g} times what the report expects; {moved} heads moved")
    require(np.median(changes[stable]) <= TWICE and (changes <= allowed)[stable].all(), figures)
    require(bench.attnsym.check(once.directory, twice.directory)["verdict"] in ("identical", "equivalent"), figures)
    return figures


def _free_biases_are_zero(bench):
    model = bert_model.load(bench.canonical().directory)
    largest = {slot: max(abs(model.attention(layer, slot, "bias")).max() for layer in range(bench.layers))
               for slot in ("key", "value")}
    figures = ", ".join(f"{slot} bias up to {value:.1e}" for slot, value in largest.items())
    require(not any(largest.values()), figures)
    return figures


def _equivalent(bench):
    answer = bench.attnsym.check(bench.model, bench.canonical().directory)
    figures = f"{answer['verdict']}, ratio up to {answer['worst']['rounding_ratio']:.3g}"
    require(answer["verdict"] == "equivalent", f"{figures}: {answer['reason']}")
    return figures


def _published_similarities(bench):
    """The forward is BERT and nothing else: figures printed on the page of all-MiniLM-L6-v2 come out."""
    _require_tokenizer(bench)
    sentences = ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    first, *others = bert_numpy.sentence_embeddings(bench.model, sentences)
    found = np.array(others) @ first
    figures = "similarities " + ", ".join(f"{value:.3f}" for value in found)
    require(np.abs(found - (0.695, 0.943, 0.257)).max() < 1e-3, figures)
    return figures


def _sentences(make):
    def show(bench):
        _require_tokenizer(bench)
        return _embeddings_agree(bert_numpy.sentence_embeddings(bench.model, SENTENCES),
                                 bert_numpy.sentence_embeddings(make(bench).directory, SENTENCES))
    return show


def _tokens(make):
    def show(bench):
        random, model = np.random.default_rng(5), bert_model.load(bench.model)
        lengths = random.integers(3, min(64, model.config["max_position_embeddings"]), 6)
        ids = [random.integers(model.config["vocab_size"], size=length) for length in lengths]
        return _embeddings_agree(bert_numpy.embeddings(bench.model, ids),
                                 bert_numpy.embeddings(make(bench).directory, ids))
    return show


def _embeddings_agree(a, b):
    apart, cosine = np.abs(a - b).max(), (1 - (a * b).sum(axis=1)).max()
    figures = f"{len(a)} embeddings, entries within {apart:.1e}, 1 - cosine at most {cosine:.1e}"
    require(0 < apart <= EMBEDDING and cosine <= EMBEDDING, figures)
    return figures


def _require_tokenizer(bench):
    if not bench.has_tokenizer:
        raise Skipped("the model has no vocab.txt, so there is no tokenizer")


def _head_changes(bench, first, second):
    """Per head, in the order of the files: the largest relative change among its Q with bias, K, V and O."""
    a, b = bert_model.load(first.directory), bert_model.load(second.directory)
    return np.array([[max(map(_relative, _head_parts(a, layer, head), _head_parts(b, layer, head)))
                      for head in range(bench.heads)] for layer in range(bench.layers)])


def _head_parts(model, layer, head):
    rows = model.rows(head)
    weight = {slot: model.attention(layer, slot, "weight") for slot in ("query", "key", "value", "output")}
    query = np.column_stack([weight["query"][rows], model.attention(layer, "query", "bias")[rows]])
    return query, weight["key"][rows], weight["value"][rows], weight["output"][:, rows]


def _output_bias_changes(bench, first, second):
    models = [bert_model.load(rewritten.directory) for rewritten in (first, second)]
    return [_relative(*(model.attention(layer, "output", "bias") for model in models)) for layer in range(bench.layers)]


def _relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(a)


def _stable(rewritten):
    return _reported(rewritten, "stable").astype(bool)


def _reported(rewritten, name):
    """[layers, heads], in the order of the file written."""
    return np.array([[head[name] for head in sorted(layer["heads"], key=lambda head: head["head"])]
                     for layer in rewritten.report["layers"]])


def _spread(changes):
    return f"median {np.median(changes):.1e}, worst {changes.max():.1e}" if changes.size else "none"
