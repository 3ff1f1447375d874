"""Claims about pairs that compute different attention: who is named, and whether the witness holds up elsewhere."""

import re
import subprocess
from pathlib import Path

import numpy as np

import bert_model
import edits
from bert_numpy import attention_module
from command import head_images, read_witness
from report import Claim, require

REPLAY_WITNESS = Path(__file__).resolve().parents[2] / "scripts" / "replay-witness"
ONE_PERCENT = 0.01
GAP_OVER_NOISE = 10
REPLAY = 1e-6  # relative, of the gap
# layer, head and projection; layer and head modulo the model's size
NUDGED = [(0, 3, "query"), (2, 7, "key"), (3, 0, "value"), (5, 11, "output"), (1, 5, "query"), (4, 8, "output")]


def claims():
    return [
        *(Claim(f"1 % edit {number}, one {place[2]} weight", _nudged(*place))
          for number, place in enumerate(NUDGED, 1)),
        Claim("1 % edit of act(A)", _nudged_after_act),
        Claim("V and O of two heads re-paired with the other's Q and K", _repaired(("value", "output"))),
        Claim("V of two heads re-paired with the other's O", _repaired(("value",))),
        Claim("V bias dropped instead of moved", _constant_changed),
        Claim("K projection transposed", _transposed),
        Claim("scripts/replay-witness finds the gap", _replayed_by_script),
    ]


def _nudged(layer, head, slot):
    def show(bench):
        place = layer % bench.layers, head % bench.heads
        edits.nudge_weight(bench.model, bench.scratch("edited"), *place, slot, ONE_PERCENT)
        return _distinct(bench, bench.scratch("edited"), place[0], [place[1]])
    return show


def _nudged_after_act(bench):
    """The edit is in a head of B; the head of A that became it has to be named."""
    acted = bench.acted()
    layer, head = 1 % bench.layers, 2 % bench.heads
    image = head_images(acted.certificate, bench.layers)[layer][head]
    edits.nudge_weight(acted.directory, bench.scratch("edited"), layer, image, "value", ONE_PERCENT)
    return _distinct(bench, bench.scratch("edited"), layer, [head])


def _repaired(slots):
    def show(bench):
        layer, heads = 1 % bench.layers, (0, 3)
        edits.swap_heads(bench.model, bench.scratch("edited"), layer, *heads, slots)
        return _distinct(bench, bench.scratch("edited"), layer, heads)
    return show


def _constant_changed(bench):
    """No head differs, so none can be named."""
    edits.forget_value_bias(bench.model, bench.scratch("edited"), 1)
    return _distinct(bench, bench.scratch("edited"), 1, range(bench.heads))


def _transposed(bench):
    edits.transpose_projection(bench.model, bench.scratch("edited"), 1, "key")
    return _distinct(bench, bench.scratch("edited"), 1, range(bench.heads))


def _replayed_by_script(bench):
    """The script that README gives to strangers."""
    edits.nudge_weight(bench.model, bench.scratch("edited"), 1, 2, "value", ONE_PERCENT)
    witness, files = bench.scratch("witness"), [model / "model.safetensors" for model in (bench.model, bench.scratch("edited"))]
    bench.attnsym.check(bench.model, bench.scratch("edited"), witness=witness)
    done = subprocess.run([REPLAY_WITNESS, witness, *files, str(bench.heads)], capture_output=True, text=True)
    require(done.returncode == 0, done.stderr)
    found, claimed = map(float, re.search(r"outputs (\S+) apart, claimed (\S+)$", done.stdout.strip()).groups())
    require(abs(found / claimed - 1) <= REPLAY, done.stdout)
    return done.stdout.strip()


def _distinct(bench, other, layer, heads):
    """Distinct, the layer and one of the heads named, and a witness that this harness's own forward confirms."""
    answer = bench.attnsym.check(bench.model, other, witness=bench.scratch("witness"))
    worst, told = answer["worst"], answer["witness"]
    figures = f"{answer['verdict']}, layer {worst['layer']} head {worst['head']}, ratio {worst['rounding_ratio']:.3g}"
    require(answer["verdict"] == "distinct", f"{figures}: {answer['reason']}")
    require(worst["layer"] == layer and worst["head"] in heads, f"{figures}, expected layer {layer} head {list(heads)}")
    gap, tokens = _replay(bench, other, layer)
    off = abs(gap / told["gap"] - 1)
    figures += f", gap {told['gap'] / told['noise']:.3g} times its noise, replayed on {tokens} tokens to {off:.1e}"
    require(told["gap"] >= GAP_OVER_NOISE * told["noise"] and tokens >= 3, figures)
    require(told["layer"] == layer and off <= REPLAY, figures)
    return figures


def _replay(bench, other, layer):
    """The gap and the number of tokens, once the outputs in the file have been found to be true."""
    witness = read_witness(bench.scratch("witness"))
    require(witness.layer == layer, f"the witness file is for layer {witness.layer}")
    outputs = [attention_module(bert_model.load(model).tensors, layer, bench.heads, witness.input)
               for model in (bench.model, other)]
    for name, ours, theirs in zip("ab", outputs, (witness.output_a, witness.output_b)):
        off = np.linalg.norm(ours - theirs) / np.linalg.norm(ours)
        require(off <= REPLAY, f"output_{name} in the witness file is off by {off:.1e}")
    return np.linalg.norm(outputs[0] - outputs[1]), len(witness.input)
