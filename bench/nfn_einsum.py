#!/usr/bin/env python3
"""The layers of attnsym::nfn beside the same layers written with einsum in PyTorch, which is how one writes them first.

    bench/nfn_einsum.py --bench build/release/bench/attnsym_bench [--width D] [--batch N] [--seconds S]

Both run forward and backward (by weights and by parameters) of E from 1 to 10 channels, relu on A, B, bA, bB, and I from 10
to 10 for two blocks in float on two threads; the fastest pass of each counts, and the last line is the ratio. First the
einsum layers have to agree with the vectors of the published implementation, in outputs and all gradients: the folder
transformer-nfn/ in the one that ATTNSYM_REFERENCE_DIR names, by default ../shared/reference beside the source tree.
Needs PyTorch (pip install torch numpy).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "acceptance"))

try:
    import torch
    import safetensors_numpy  # this project's reader; needs NumPy
except ModuleNotFoundError as missing:
    sys.exit(f"nfn_einsum: {missing.name} is not installed (pip install torch numpy): nothing was compared")

THREADS = 2
CHANNELS = 10
LIMIT = 1e-12  # relative to the largest entry
WEIGHTS = ("Q", "K", "V", "O", "A", "B", "bA", "bB")
E_PARAMETERS = {
    "PhiQ": "ecDD", "PhiK": "ecDD", "PhiV": "ecDD", "O1": "ec", "O2": "ec",
    "A1": "ecDD", "A2": "ecD", "A3": "ecD", "A4": "ec", "A5": "ec", "A6": "ec", "A7": "ec", "A8": "ecD", "A9": "ecD",
    "A10": "ec", "A11": "ec", "A12": "ecD", "A13": "e",
    "a1": "ecDD", "a2": "ecD", "a3": "ec", "a4": "ec", "a5": "ecD", "a6": "ecD", "a7": "ec", "a8": "ec", "a9": "ecD", "a10": "e",
    "B1": "ecDDD", "B2": "ecDD", "B3": "ecD", "B4": "ecD", "B5": "ecDD", "B6": "ecDD", "B7": "ecD", "B8": "ecD", "B9": "ecDD",
    "B10": "eD", "c1": "ecDDD", "c2": "ecDD", "c3": "ecD", "c4": "ecDD", "c5": "ecD", "c6": "ecDD", "c7": "eD"}
I_PARAMETERS = {"F1": "ecDD", "F2": "ecD", "F3": "ec", "F4": "ecD", "F5": "ec", "F6": "ecD", "F7": "e"}


def pooled(p, w, products, names, output=""):
    """Seven terms in the invariant features; `output` is "k" where every coefficient has a free model axis."""
    qk, vo = products
    terms = (("pq", qk, "pq"), ("p", vo, "pq"), ("", w["A"], "pq"), ("q", w["B"], "pq"), ("", w["bA"], "q"), ("q", w["bB"], "q"))
    return sum(torch.einsum(f"ec{output}{axes},nc{summed}->ne{output}", p[name], feature)
               for name, (axes, feature, summed) in zip(names, terms)) + p[names[6]]


def products_of(w):
    return torch.einsum("nchpk,nchqk->ncpq", w["Q"], w["K"]), torch.einsum("nchpk,nchkq->ncpq", w["V"], w["O"])


def equivariant(p, w):
    """E of arXiv 2410.04209, term by term."""
    products = products_of(w)
    vo = products[1]
    out = {name: torch.einsum("ecjp,nchpk->nehjk", p["Phi" + name], w[name]) for name in "QKV"}
    out["O"] = (torch.einsum("ec,nchjq->nehj", p["O1"], w["O"])[..., None] + torch.einsum("ec,nchjk->nehjk", p["O2"], w["O"]))
    rows = torch.einsum("ecp,ncpj->nej", p["A3"], vo) + torch.einsum("ec,ncjq->nej", p["A5"], w["A"])
    columns = (torch.einsum("ec,ncpk->nek", p["A6"], w["A"]) + torch.einsum("ecq,nckq->nek", p["A9"], w["B"])
               + torch.einsum("ec,nck->nek", p["A11"], w["bA"]))
    constant = pooled(p, w, products, ("A1", "A2", "A4", "A8", "A10", "A12", "A13"))
    out["A"] = (torch.einsum("ec,ncjk->nejk", p["A7"], w["A"]) + rows[..., None] + columns[:, :, None] + constant[..., None, None])
    out["bA"] = (torch.einsum("ec,ncpk->nek", p["a4"], w["A"]) + torch.einsum("ecq,nckq->nek", p["a6"], w["B"])
                 + torch.einsum("ec,nck->nek", p["a8"], w["bA"])
                 + pooled(p, w, products, ("a1", "a2", "a3", "a5", "a7", "a9", "a10"))[..., None])
    out["B"] = (torch.einsum("eck,ncpj->nejk", p["B4"], w["A"]) + torch.einsum("eckq,ncjq->nejk", p["B6"], w["B"])
                + torch.einsum("eck,ncj->nejk", p["B8"], w["bA"])
                + pooled(p, w, products, ("B1", "B2", "B3", "B5", "B7", "B9", "B10"), "k")[:, :, None])
    out["bB"] = pooled(p, w, products, ("c1", "c2", "c3", "c4", "c5", "c6", "c7"), "k")
    return out


def invariant(p, w):
    return pooled(p, w, products_of(w), tuple(I_PARAMETERS))


def relu(w):
    return {name: torch.relu(tensor) if name in ("A", "B", "bA", "bB") else tensor for name, tensor in w.items()}


class Vectors:
    """One file of the published implementation's numbers."""

    def __init__(self, path):
        self.file = safetensors_numpy.read(path)

    def tensors(self, prefix, names):
        return {name: torch.tensor(self.file.numbers(prefix + name)).requires_grad_() for name in names}

    def error(self, name, got):
        """Of the largest entry; infinite for NaN."""
        want = torch.tensor(self.file.numbers(name))
        error = ((got - want).abs().max() / want.abs().max()).item()
        return error if error == error else float("inf")

    def worst_error(self):
        weights = self.tensors("in.", WEIGHTS)
        return max(self.errors(equivariant, weights, self.tensors("param.", E_PARAMETERS), ""),
                   self.errors(invariant, weights, self.tensors("invariant.param.", I_PARAMETERS), "invariant."))

    def errors(self, layer, weights, parameters, prefix):
        out = layer(parameters, weights)
        named = out if isinstance(out, dict) else {"": out}
        stem = "out." if isinstance(out, dict) else "out"
        cotangents = {name: torch.tensor(self.file.numbers(prefix + stem.replace("out", "cotangent") + name)) for name in named}
        loss = sum((tensor * cotangents[name]).sum() for name, tensor in named.items())
        by = torch.autograd.grad(loss, [*weights.values(), *parameters.values()])
        names = [prefix + "grad.in." + name for name in weights] + [prefix + "grad.param." + name for name in parameters]
        return max([self.error(prefix + stem + name, tensor) for name, tensor in named.items()]
                   + [self.error(name, gradient) for name, gradient in zip(names, by)])


def check_vectors():
    folder = Path(os.environ.get("ATTNSYM_REFERENCE_DIR", ROOT.parent / "shared" / "reference")) / "transformer-nfn"
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        sys.exit(f"nfn_einsum: no vectors in {folder}; set ATTNSYM_REFERENCE_DIR")
    worst = max(Vectors(path).worst_error() for path in files)
    print(f"{len(files)} files of vectors: einsum differs by at most {worst:.1g} in outputs and gradients")
    if not worst <= LIMIT:
        sys.exit("nfn_einsum: this is not the published layer")


def random_parameters(shapes, width, channels):
    extent = {"e": CHANNELS, "c": channels, "D": width}
    return {name: (torch.rand([extent[axis] for axis in axes]) / 32).requires_grad_() for name, axes in shapes.items()}


class Block:
    """One block of the paper's zoo and its encoder."""

    def __init__(self, width, batch):
        heads, inner, hidden = 2, width // 2, 2 * width
        axes = {"Q": (heads, width, inner), "K": (heads, width, inner), "V": (heads, width, inner), "O": (heads, inner, width),
                "A": (width, hidden), "B": (hidden, width), "bA": (hidden,), "bB": (width,)}
        self.weights = {name: torch.rand(batch, 1, *axes[name]).requires_grad_() for name in WEIGHTS}
        self.first = random_parameters(E_PARAMETERS, width, 1)
        self.last = random_parameters(I_PARAMETERS, width, CHANNELS)

    def run(self):
        out = invariant(self.last, relu(equivariant(self.first, self.weights)))
        variables = [*self.weights.values(), *self.first.values(), *self.last.values()]
        return torch.autograd.grad(out, variables, out.detach())


def fastest(blocks, seconds):
    """Seconds of the fastest pass over all blocks."""
    passes = []
    begin = time.perf_counter()
    while len(passes) < 4 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        for block in blocks:
            block.run()
        passes.append(time.perf_counter() - start)
    return min(passes)


def fastest_of_library(bench, width, batch, seconds):
    """The same of attnsym_bench, in seconds per checkpoint."""
    command = [bench, f"--benchmark_filter=^encode_two_blocks/{width}/{batch}/", "--benchmark_format=json",
               f"--benchmark_min_time={seconds / 5}", "--benchmark_repetitions=5"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    runs = [run for run in json.loads(done.stdout)["benchmarks"] if run["run_type"] == "iteration"]
    if not runs:
        sys.exit(f"nfn_einsum: {bench} has no encode_two_blocks/{width}/{batch}")
    return min(run["per checkpoint"] for run in runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="the program attnsym_bench")
    parser.add_argument("--width", type=int, default=32, help="D; the bench knows 32 and 128")
    parser.add_argument("--batch", type=int, default=64, help="checkpoints in one pass; the bench knows 64")
    parser.add_argument("--seconds", type=float, default=10, help="how long each is timed")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    check_vectors()
    torch.manual_seed(1)
    blocks = [Block(options.width, options.batch) for _ in range(2)]
    blocks[0].run()
    # Taking turns, so that neither has the quieter machine.
    theirs, ours = [], []
    for _ in range(2):
        theirs.append(fastest(blocks, options.seconds / 2) / options.batch)
        ours.append(fastest_of_library(options.bench, options.width, options.batch, options.seconds / 2))
    print(f"einsum, PyTorch {torch.__version__}: {1e3 * min(theirs):.3f} ms per checkpoint")
    print(f"attnsym::nfn: {1e3 * min(ours):.3f} ms per checkpoint")
    print(f"ratio {min(theirs) / min(ours):.1f}")


if __name__ == "__main__":
    main()
