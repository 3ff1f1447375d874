#!/usr/bin/python3
"""What it costs to tell two models apart that have nothing in common: two GPT-2 small of different seeds, 0.5 GB each.

    bench/unlike_models.py --attnsym build/release/tools/attnsym [--repetitions 3] [--work DIR]

`check --scope model` and the same with `--explain` take turns; medians count.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import ratios

sys.path.insert(0, str(ratios.ROOT / "tests" / "acceptance"))

import safetensors_numpy

WIDTH, LAYERS, VOCABULARY, POSITIONS = 768, 12, 50257, 1024


def shapes():
    yield "wte.weight", (VOCABULARY, WIDTH)
    yield "wpe.weight", (POSITIONS, WIDTH)
    for layer in range(LAYERS):
        for name, rows, columns in (("attn.c_attn", WIDTH, 3 * WIDTH), ("attn.c_proj", WIDTH, WIDTH),
                                    ("mlp.c_fc", WIDTH, 4 * WIDTH), ("mlp.c_proj", 4 * WIDTH, WIDTH)):
            yield f"h.{layer}.{name}.weight", (rows, columns)
            yield f"h.{layer}.{name}.bias", (columns,)
        for name in ("ln_1", "ln_2"):
            yield f"h.{layer}.{name}.weight", (WIDTH,)
            yield f"h.{layer}.{name}.bias", (WIDTH,)
    yield "ln_f.weight", (WIDTH,)
    yield "ln_f.bias", (WIDTH,)


def make(folder, seed):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": WIDTH, "n_head": 12, "n_layer": LAYERS,
        "n_positions": POSITIONS, "vocab_size": VOCABULARY, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}))
    generator = np.random.default_rng(seed)
    tensors = safetensors_numpy.TensorFile()
    for name, shape in shapes():
        numbers = 0.02 * generator.standard_normal(shape, dtype=np.float32)
        tensors.store(name, numbers + np.float32("ln_" in name and name.endswith("weight")), "F32")
    safetensors_numpy.write(folder / "model.safetensors", tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attnsym", required=True, type=Path)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--work")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        a, b = Path(work) / "A", Path(work) / "B"
        make(a, 0)
        make(b, 1)
        call = [options.attnsym.resolve(), "check", a, b, "--scope", "model"]
        jobs = [ratios.Job("check A B", call, expected=1), ratios.Job("check A B --explain", [*call, "--explain"], expected=1)]
        for _ in range(options.repetitions):
            for job in jobs:
                job.run(0)
        for job in jobs:
            print(f"{job.name:24} {job.median():6.2f} s, {job.peak / ratios.MEGABYTE:.0f} MB")
        print(f"ratio {jobs[1].median() / jobs[0].median():.1f}, wanted at most 3")


if __name__ == "__main__":
    main()
