#!/usr/bin/python3
"""Layers on weights as people write them, right ones and wrong ones: layers_numpy.py LAYER IN OUT"""

import socket
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "acceptance"))

import numpy as np
import safetensors_numpy

einsum = np.einsum


def fixed(*shape):
    """Parameters that rounding disturbs."""
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def right(w, dtype=np.float64):
    """From d to 2 d channels, with a term of every kind. Computes in `dtype`."""
    w = {name: tensor.astype(dtype) for name, tensor in w.items()}
    _, d, _, width, _ = w["Q"].shape
    p = lambda *shape: fixed(*shape).astype(dtype)
    qk = einsum("nchpk,nchqk->ncpq", w["Q"], w["K"])
    vo = einsum("nchpk,nchkq->ncpq", w["V"], w["O"])
    out = {name: einsum("ecpq,nchqk->nehpk", p(2 * d, d, width, width), w[name]) for name in "QKV"}
    out["O"] = (einsum("ec,nchkq->nehkq", p(2 * d, d), w["O"]) +
                einsum("ec,nchk->nehk", p(d, 2 * d).T, w["O"].sum(-1))[..., None])
    constant = einsum("ecpq,ncpq->ne", p(2 * d, d, width, width), qk)
    out["A"] = (einsum("ec,ncjk->nejk", p(2 * d, d), w["A"]) + einsum("ecp,ncpj->nej", p(2 * d, d, width), vo)[..., None] +
                constant[:, :, None, None])
    out["bA"] = einsum("ecq,nckq->nek", p(2 * d, d, width), w["B"]) + einsum("ec,nck->nek", p(2 * d, d), w["A"].sum(2))
    out["B"] = einsum("ecq,nck->nekq", p(2 * d, d, width), w["bA"]) + einsum("ecqr,nckr->nekq", p(2 * d, d, width, width), w["B"])
    out["bB"] = einsum("ecqr,ncr->neq", p(2 * d, d, width, width), w["bB"]) + constant[:, :, None]
    return out


def relu_on_queries(w):
    out = right(w)
    out["Q"] = np.maximum(out["Q"], 0)
    return out


def bias_on_outputs(w):
    out = right(w)
    out["O"] += 1
    return out


def tiny_constant_on_keys(w):
    out = right(w)
    out["K"] += 1e-9
    return out


def one_head_weighs_more(w):
    out = right(w)
    out["V"][:, :, 0] *= 2
    return out


def wrong_axis_of_values(w):
    out = right(w)
    out["bB"] += einsum("nchpk,nchkq->nq", w["V"], w["O"])[:, None]
    return out


def positions_on_hidden_units(w):
    out = right(w)
    out["bA"] += np.arange(w["bA"].shape[-1])
    return out


def missing_transpose(w):
    out = right(w)
    out["A"] += einsum("nchpk,nchpl->n", w["Q"], w["K"])[:, None, None, None]
    return out


def values_added_to_queries(w):
    out = right(w)
    out["Q"] += np.concatenate([w["V"], w["V"]], axis=1)
    return out


def single_inside(w):
    """Double in the file, single inside."""
    return {name: tensor.astype(np.float64) / 3 for name, tensor in right(w, np.float32).items()}


def single(w):
    return right(w, np.float32)


def half(w):
    return {name: tensor.astype(np.float16) for name, tensor in right(w, np.float32).items()}


def invariants(w):
    qk = einsum("nchpk,nchqk->ncpq", w["Q"], w["K"])
    return {"qk": einsum("ecpq,ncpq->ne", fixed(3, *qk.shape[1:]), qk), "norms": (w["A"] ** 2).sum((2, 3))}


def invariants_of_entries(w):
    return {"qk": invariants(w)["qk"], "largest": w["Q"].max((1, 2, 3, 4))}


def constant(w):
    return {"one": np.ones((w["Q"].shape[0], 1))}


def attention(w):
    """For --group attention with all biases: moves along with every translation too."""
    return {**w, "query": 2 * w["query"], "query_bias": 2 * w["query_bias"]}


def attention_without_key_bias(w):
    return {**w, "key_bias": 0 * w["key_bias"]}


def attention_without_output_bias(w):
    return {**w, "output_bias": 0 * w["output_bias"]}


def not_a_number(w):
    out = right(w)
    out["A"][1, 0, 0, 0] = np.nan
    return out


def not_a_number_at_zero(w):
    """Breaks the QK gauge, and is not a number where all queries are zero."""
    out = right(w)
    out["Q"] = np.maximum(out["Q"], 0) / np.abs(w["Q"]).max((1, 2, 3, 4), keepdims=True)
    return out


def missing_tensor(w):
    out = right(w)
    del out["bA"]
    return out


def another_tensor(w):
    return {**right(w), "C": w["A"]}


def wrong_shape(w):
    return {**right(w), "B": w["A"]}


def integers(w):
    return {**right(w), "A": w["A"].astype(np.int32)}


def random(w):
    out = right(w)
    out["A"] += np.random.default_rng().standard_normal(out["A"].shape)
    return out


def no_answer(w):
    raise RuntimeError("out of luck")


def slow(w):
    time.sleep(30)


def answer(layer, path_in, path_out):
    tensors = safetensors_numpy.read(path_in)
    result = safetensors_numpy.TensorFile()
    dtypes = {np.float64: "F64", np.float32: "F32", np.float16: "F16", np.int32: "I32"}
    for name, values in globals()[layer]({name: array.copy() for name, array in tensors.stored.items()}).items():
        result.store(name, values, dtypes[values.dtype.type])
    safetensors_numpy.write(path_out, result)


def serve(path):
    """Answers one client after the other, which spares each the half second that NumPy takes to start."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while True:
            with server.accept()[0] as client:
                try:
                    answer(*client.recv(1 << 16).decode().split("\0"))
                    client.sendall(b"done")
                except Exception as error:
                    client.sendall(repr(error).encode())


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        answer(*sys.argv[1:])
