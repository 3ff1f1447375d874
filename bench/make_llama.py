#!/usr/bin/python3
"""Writes a random Llama-type checkpoint in bfloat16, with the shape of TinyLlama-1.1B unless told otherwise.

    bench/make_llama.py DIR [--layers 22] [--width 2048] [--heads 32] [--kv-heads 4] [--ffn 5632] [--vocabulary 32000] [--seed 1]

Weights are heavy-tailed with a typical size of 1 / sqrt(width), as in trained models; norms are near 1.
"""

import argparse
import json
from pathlib import Path

import numpy as np


def bfloat16(numbers):
    """The upper halves of float32, rounded to nearest even."""
    bits = numbers.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def shapes(o):
    head_width = o.width // o.heads
    yield "model.embed_tokens.weight", (o.vocabulary, o.width)
    for layer in range(o.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "self_attn.q_proj.weight", (o.width, o.width)
        yield prefix + "self_attn.k_proj.weight", (o.kv_heads * head_width, o.width)
        yield prefix + "self_attn.v_proj.weight", (o.kv_heads * head_width, o.width)
        yield prefix + "self_attn.o_proj.weight", (o.width, o.width)
        yield prefix + "mlp.gate_proj.weight", (o.ffn, o.width)
        yield prefix + "mlp.up_proj.weight", (o.ffn, o.width)
        yield prefix + "mlp.down_proj.weight", (o.width, o.ffn)
        yield prefix + "input_layernorm.weight", (o.width,)
        yield prefix + "post_attention_layernorm.weight", (o.width,)
    yield "model.norm.weight", (o.width,)
    yield "lm_head.weight", (o.vocabulary, o.width)


def drawn(rng, shape, width):
    if len(shape) == 1:
        return 1 + 0.1 * rng.standard_normal(shape, dtype=np.float32)
    rows = np.exp(0.3 * rng.standard_normal((shape[0], 1), dtype=np.float32))
    return rows * rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(width))


def config(o):
    return {"model_type": "llama", "hidden_size": o.width, "num_attention_heads": o.heads, "num_key_value_heads": o.kv_heads,
            "num_hidden_layers": o.layers, "intermediate_size": o.ffn, "vocab_size": o.vocabulary, "rope_theta": 10000.0,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "attention_bias": False, "torch_dtype": "bfloat16"}


def main():
    o = parse()
    o.directory.mkdir(parents=True)
    (o.directory / "config.json").write_text(json.dumps(config(o), indent=2) + "\n")
    header, offset = {}, 0
    for name, shape in shapes(o):
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(o.seed)
    with open(o.directory / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape in shapes(o):
            file.write(bfloat16(drawn(rng, shape, o.width)).tobytes())
    print(f"{o.directory}: {offset // 2:,} parameters")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    for name, value in [("layers", 22), ("width", 2048), ("heads", 32), ("kv-heads", 4), ("ffn", 5632), ("vocabulary", 32000), ("seed", 1)]:
        parser.add_argument("--" + name, type=int, default=value)
    return parser.parse_args()


if __name__ == "__main__":
    main()
