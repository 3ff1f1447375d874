"""Writes GGUF and llama2.c files with NumPy alone, as llama.cpp's converter and quantiser and llama2.c's export do."""

import json
import struct
from pathlib import Path

import numpy as np

import safetensors_numpy

U32, F32, BOOL, TEXT, ARRAY = 4, 6, 7, 8, 9
TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "BF16": 30, "Q6_K": 14}
ALIGNMENT = 32

NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
GEMMA2_NAMES = {**NAMES, "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
                "post_attention_norm": "post_attention_layernorm"}
GPT2_NAMES = {
    "token_embd": "transformer.wte", "position_embd": "transformer.wpe", "output_norm": "transformer.ln_f",
    "output": "lm_head", "attn_norm": "ln_1", "ffn_norm": "ln_2", "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
}


def blocks_of(values):
    return np.asarray(values, dtype=np.float32).reshape(-1, 32)


def _inverse(step):
    return np.where(step == 0, np.float32(0), 1 / np.where(step == 0, np.float32(1), step)).astype(np.float32)


def _nibbles(codes):
    return (codes[:, :16] | codes[:, 16:] << 4).astype(np.uint8)


def quantize(values, kind):
    """The bytes of llama.cpp's reference quantisers, quantize_row_q8_0_ref and its kin."""
    x = blocks_of(values)
    if kind == "Q8_0":
        step = (np.abs(x).max(axis=1, keepdims=True) / np.float32(127)).astype(np.float32)
        scaled = x * _inverse(step)
        codes = np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled).astype(np.int8)
        return np.hstack([step.astype("<f2").view(np.uint8), codes.view(np.uint8)]).tobytes()
    if kind == "Q4_0":
        largest = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)
        step = (largest / np.float32(-8)).astype(np.float32)
        codes = np.minimum(15, (x * _inverse(step) + np.float32(8.5)).astype(np.int8))
        return np.hstack([step.astype("<f2").view(np.uint8), _nibbles(codes)]).tobytes()
    low = x.min(axis=1, keepdims=True)
    step = ((x.max(axis=1, keepdims=True) - low) / np.float32(15)).astype(np.float32)
    codes = np.minimum(15, ((x - low) * _inverse(step) + np.float32(0.5)).astype(np.int8))
    return np.hstack([step.astype("<f2").view(np.uint8), low.astype("<f2").view(np.uint8), _nibbles(codes)]).tobytes()


def dequantize(stored, kind, shape):
    """float32, as llama.cpp's dequantize_row_q8_0 and its kin."""
    size = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}[kind]
    rows = np.frombuffer(stored, dtype=np.uint8).reshape(-1, size)
    step = rows[:, :2].copy().view("<f2").astype(np.float32)
    if kind == "Q8_0":
        return (rows[:, 2:].view(np.int8).astype(np.float32) * step).reshape(shape)
    nibbles = rows[:, -16:]
    codes = np.hstack([nibbles & 15, nibbles >> 4]).astype(np.float32)
    if kind == "Q4_0":
        return ((codes - 8) * step).reshape(shape)
    return (codes * step + rows[:, 2:4].copy().view("<f2").astype(np.float32)).reshape(shape)


def encode(values, kind):
    if kind == "F32":
        return np.asarray(values, dtype="<f4").tobytes()
    if kind == "F16":
        return np.asarray(values).astype("<f2").tobytes()
    if kind == "BF16":
        return safetensors_numpy.f32_to_bf16(values).tobytes()
    return quantize(values, kind)


def decoded(values, kind):
    """What is left of values that were stored."""
    stored, shape = encode(values, kind), np.shape(values)
    if kind in ("F32", "F16"):
        return np.frombuffer(stored, dtype="<f4" if kind == "F32" else "<f2").astype(np.float32).reshape(shape)
    if kind == "BF16":
        return safetensors_numpy.bf16_to_f32(np.frombuffer(stored, dtype="<u2")).reshape(shape)
    return dequantize(stored, kind, shape)


def _text(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value):
    if isinstance(value, bool):
        return struct.pack("<IB", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value)
    if isinstance(value, float):
        return struct.pack("<If", F32, value)
    if isinstance(value, list):
        return struct.pack("<IIQ", ARRAY, TEXT, len(value)) + b"".join(_text(item) for item in value)
    return struct.pack("<I", TEXT) + _text(value)


def write_gguf(path, metadata, tensors, version=3):
    """@param tensors  name -> (kind, shape as NumPy has it, bytes)"""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    data = b""
    for name, (kind, shape, stored) in tensors.items():
        head += _text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        head += struct.pack("<IQ", TYPES[kind], len(data))
        data += stored + b"\0" * (-len(stored) % ALIGNMENT)
    Path(path).write_bytes(head + b"\0" * (-len(head) % ALIGNMENT) + data)


def interleave(rows, heads):
    """Rows of queries or keys, half-split pairs in every head, as llama.cpp and llama2.c want them."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def metadata(config):
    arch = config["model_type"]
    size = lambda *keys: next(config[key] for key in keys if config.get(key) is not None)
    heads, width = size("n_head", "num_attention_heads"), size("n_embd", "hidden_size")
    metadata = {
        "general.architecture": arch, "general.name": "a test",
        f"{arch}.block_count": size("n_layer", "num_hidden_layers"), f"{arch}.embedding_length": width,
        f"{arch}.context_length": size("n_positions", "max_position_embeddings"),
        f"{arch}.feed_forward_length": size("n_inner", "intermediate_size"),
        f"{arch}.attention.head_count": heads, "tokenizer.ggml.tokens": ["<unk>", "a"],
        "tokenizer.ggml.add_bos_token": True,
    }
    if arch == "gpt2":
        return metadata | {"gpt2.attention.layer_norm_epsilon": config["layer_norm_epsilon"]}
    metadata |= {f"{arch}.attention.head_count_kv": config.get("num_key_value_heads") or heads,
                 f"{arch}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
                 f"{arch}.rope.freq_base": float(config["rope_theta"])}
    head = config.get("head_dim") or width // heads
    if config.get("head_dim"):
        metadata |= {f"{arch}.attention.key_length": head, f"{arch}.attention.value_length": head}
    if arch == "llama":
        metadata["llama.rope.dimension_count"] = head
    if arch == "gemma2":
        metadata |= {"gemma2.attn_logit_softcapping": config["attn_logit_softcapping"],
                     "gemma2.final_logit_softcapping": config["final_logit_softcapping"],
                     "gemma2.attention.sliding_window": config["sliding_window"]}
    return metadata


def _converted(name, values, config):
    """(the name, the values) of a tensor in a GGUF file; no name where it has none."""
    arch = config["model_type"]
    names = {"gpt2": GPT2_NAMES, "gemma2": GEMMA2_NAMES}.get(arch, NAMES)
    module, part = name.rsplit(".", 1)
    layer = ""
    for prefix in ("model.layers.", "transformer.h."):
        if module.startswith(prefix):
            number, module = module[len(prefix):].split(".", 1)
            layer = f"blk.{number}."
    found = next((gguf for gguf, theirs in names.items() if theirs == module), None)
    if found is None:
        return None, values
    if arch == "llama" and found in ("attn_q", "attn_k"):
        heads = config["num_attention_heads"]
        values = interleave(values, heads if found == "attn_q" else config.get("num_key_value_heads") or heads)
    if arch.startswith("gemma") and found.endswith("norm"):
        values = values + 1
    if arch == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        values = values.T
    return f"{layer}{found}.{part}", np.ascontiguousarray(values)


def llama3_factors(config):
    """As convert_hf_to_gguf.py writes them to rope_freqs.weight."""
    scaling, head = config["rope_scaling"], config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    frequencies = 1 / config["rope_theta"] ** (np.arange(0, head, 2, dtype=np.float32) / np.float32(head))
    low = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
    high = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
    factors = []
    for wavelength in 2 * np.pi / frequencies:
        smooth = ((scaling["original_max_position_embeddings"] / wavelength - scaling["low_freq_factor"])
                  / (scaling["high_freq_factor"] - scaling["low_freq_factor"]))
        between = 1 / ((1 - smooth) / scaling["factor"] + smooth)
        factors.append(1 if wavelength < high else scaling["factor"] if wavelength > low else between)
    return np.array(factors, dtype=np.float32)


def load(directory):
    """The configuration of a directory and its tensors by name, as float32."""
    directory = Path(directory)
    tensors = safetensors_numpy.read(directory / "model.safetensors")
    config = json.loads((directory / "config.json").read_text())
    return config, {name: tensors.numbers(name).astype(np.float32) for name in tensors.stored}


def convert(directory, path, kind="F32", more=None, change=lambda name, values: values, keep=None, replace=None, version=3):
    """A Hugging Face directory as a GGUF file; matrices as `kind`, vectors as F32.

    @param more  further metadata @param change  of (name, values) of every tensor in the file @param keep  another kind
    by name @param replace  whole entries by name, as write_gguf has them
    """
    config, stored = load(directory)
    tensors = {}
    if "rope_scaling" in config:
        factors = llama3_factors(config)
        tensors["rope_freqs.weight"] = ("F32", factors.shape, encode(factors, "F32"))
    for name, values in stored.items():
        gguf, values = _converted(name, values, config)
        if gguf is None:
            continue
        values = change(gguf, values)
        one = (keep or {}).get(gguf) or (kind if values.ndim == 2 else "F32")
        tensors[gguf] = (one, values.shape, encode(values, one))
    write_gguf(path, metadata(config) | (more or {}), tensors | (replace or {}), version)


def export_llama2c(directory, path, version=0):
    """A Llama directory as a file of llama2.c's export.py."""
    config, t = load(directory)
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    layers = range(config["num_hidden_layers"])
    tied = "lm_head.weight" not in t
    each = lambda module, change=lambda w: w: [change(t[f"model.layers.{n}.{module}.weight"]) for n in layers]
    attention = (each("self_attn.q_proj", lambda w: interleave(w, heads))
                 + each("self_attn.k_proj", lambda w: interleave(w, groups))
                 + each("self_attn.v_proj") + each("self_attn.o_proj"))
    mlp = each("mlp.gate_proj") + each("mlp.down_proj") + each("mlp.up_proj")
    embedding, last_norm = [t["model.embed_tokens.weight"]], [t["model.norm.weight"]]
    head = [] if tied else [t["lm_head.weight"]]
    words, positions = config["vocab_size"], config["max_position_embeddings"]
    sizes = [config["hidden_size"], config["intermediate_size"], len(layers), heads, groups]
    if version == 0:
        dead = [np.zeros(positions * config["hidden_size"] // heads)]
        parts = (embedding + each("input_layernorm") + attention + each("post_attention_layernorm") + mlp + last_norm
                 + dead + head)
        header = struct.pack("<7i", *sizes, words if tied else -words, positions)
    else:
        parts = (each("input_layernorm") + each("post_attention_layernorm") + last_norm + embedding + attention + mlp
                 + head)
        header = struct.pack("<Ii7iB", 0x616B3432, version, *sizes, words, positions, tied).ljust(256, b"\0")
    Path(path).write_bytes(header + b"".join(np.asarray(part, dtype="<f4").tobytes() for part in parts))
