"""A layer on weights of transformer blocks in PyTorch, tested from the shell:

    attnsym equivariance --dtype F32 --command 'python3 examples/pytorch_layer.py {in} {out}'
    attnsym equivariance --dtype F32 --command 'python3 examples/pytorch_layer.py --relu-on-queries {in} {out}'

The first commutes with every symmetry; the second breaks the QK gauge. Needs torch and safetensors.
"""

import sys

import torch
from safetensors.torch import load_file, save_file


class BlockLayer(torch.nn.Module):
    """Left multiplication on Q, K and V, which commutes with their gauges; sums over axes that are permuted elsewhere."""

    def __init__(self, width):
        super().__init__()
        self.phi = torch.nn.ParameterDict({name: torch.nn.Parameter(torch.randn(width, width)) for name in "QKV"})
        self.mix = torch.nn.Parameter(torch.randn(7))

    def forward(self, w):
        mix = self.mix
        qk = torch.einsum("nchpk,nchqk->ncpq", w["Q"], w["K"]).sum((2, 3))  # invariant
        out = {name: torch.einsum("pq,nchqk->nchpk", self.phi[name], w[name]) for name in "QKV"}
        out["O"] = mix[0] * w["O"] + mix[1] * w["O"].mean(-1, keepdim=True)
        out["A"] = mix[2] * w["A"] + w["A"].sum(2, keepdim=True) + mix[3] * qk[..., None, None]
        out["bA"] = mix[4] * w["bA"] + w["A"].sum(2)
        out["B"] = mix[5] * w["B"] + w["bA"][..., None]
        out["bB"] = mix[6] * w["bB"] + w["B"].sum(2)
        return out


if __name__ == "__main__":
    *flags, path_in, path_out = sys.argv[1:]
    torch.manual_seed(0)
    weights = load_file(path_in)
    layer = BlockLayer(width=weights["Q"].shape[3])
    with torch.no_grad():
        result = layer(weights)
    if "--relu-on-queries" in flags:
        result["Q"] = torch.relu(result["Q"])
    save_file({name: tensor.contiguous() for name, tensor in result.items()}, path_out)
