"""Claims about whole small models that were trained: what they write stays what it was."""

import itertools
from functools import partial
from pathlib import Path

import family_rewrites
import gpt2_numpy
import llama_numpy
import token_text
from report import Claim, Skipped, require

ROOT = Path(__file__).resolve().parents[2]
TINY_LLAMA = ROOT / "models" / "tiny-llama"
STORIES = ROOT.parent / "shared" / "data" / "stories260K" / "hf"      # not part of the project
SORTER = ROOT.parent / "shared" / "data" / "gpt-nano-sort" / "hf"
BEGINNING = {TINY_LLAMA: "Once upon a time there was a little girl named Mia. Mia lived in a small house by the sea",
             STORIES: "Once upon a time, there was a little girl named Lily"}
TOKENS = {TINY_LLAMA: 120, STORIES: 20}
DIGITS = 6


def claims():
    ways = {"act, F32": partial(_act, "F32"), "act, BF16": partial(_act, "BF16"), "canonicalize": _canonicalize,
            "groups written out": _write_out}
    llamas = [Claim(f"{name}, its text after {way}", partial(_text, model, change))
              for name, model in (("tiny-llama", TINY_LLAMA), ("stories260K", STORIES)) for way, change in ways.items()]
    return llamas + [Claim(f"gpt-nano-sort sorts after {way}", partial(_sorts, ways[way]))
                     for way in ("act, F32", "canonicalize")]


def _act(dtype, bench, model, out):
    bench.attnsym.act(model, out, "--condition", 10, "--dtype", dtype, "--seed", 7)


def _canonicalize(bench, model, out):
    bench.attnsym.canonicalize(model, out)


def _write_out(bench, model, out):
    family_rewrites.write_out_groups(model, out)


def _text(model, change, bench):
    _require_there(model)
    tokens = llama_numpy.greedy_tokens(model, [1], TOKENS[model])
    decode = token_text.decoder(model)
    require(decode(tokens).startswith(BEGINNING[model]), f"it writes: {decode(tokens)}")
    verdict = _changed(bench, model, change)
    found = llama_numpy.greedy_tokens(bench.scratch("changed"), [1], TOKENS[model])
    lead = llama_numpy.smallest_lead(model, tokens)
    figures = f"{verdict}, {len(tokens)} tokens, each ahead by {lead:.3g} or more"
    require(found == tokens, f"{figures}: it writes: {decode(found)}")
    return figures


def _sorts(change, bench):
    _require_there(SORTER)
    verdict = _changed(bench, SORTER, change)
    cases = list(itertools.product(range(3), repeat=DIGITS))
    right = sum(gpt2_numpy.sorted_by(bench.scratch("changed"), digits) == sorted(digits) for digits in cases)
    figures = f"{verdict}, {right} of {len(cases)} sorted"
    require(right == len(cases), figures)
    return figures


def _changed(bench, model, change):
    change(bench, model, bench.scratch("changed"))
    answer = bench.attnsym.check(model, bench.scratch("changed"))
    require(answer["verdict"] in ("identical", "equivalent"), f"{answer['verdict']}: {answer['reason']}")
    return answer["verdict"]


def _require_there(model):
    if not model.exists():
        raise Skipped(f"there is no {model}")
