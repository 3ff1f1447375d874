"""Claims about pairs whose heads have another number or another width."""

import shapes
from command import ACCEPTED
from report import Claim, require


def claims():
    return [
        Claim("heads padded with zeros, the scale folded into Q", _same(shapes.pad_heads)),
        Claim("one more head that is zero", _same(shapes.add_zero_head)),
        Claim("every head split in two by V and O", _same(shapes.split_heads)),
        Claim("heads padded with zeros, the scale forgotten", _forgotten),
    ]


def _same(reshape):
    def show(bench):
        other, certificate = bench.scratch("other"), bench.scratch("certificate")
        reshape(bench.model, other)
        answer = bench.attnsym.check(bench.model, other, certificate=certificate)
        require(answer["verdict"] == "equivalent", f"{answer['verdict']}: {answer['reason']}")
        require(all(layer["classes"] for layer in answer["layers"]), "no classes of heads")
        require(bench.attnsym.certify(certificate, bench.model, other) == ACCEPTED, "the certificate is rejected")
        return f"equivalent, classes of heads in {len(answer['layers'])} layers, certificate accepted"
    return show


def _forgotten(bench):
    shapes.pad_heads(bench.model, bench.scratch("other"), fold_scale=False)
    answer = bench.attnsym.check(bench.model, bench.scratch("other"))
    require(answer["verdict"] == "distinct", f"{answer['verdict']}: {answer['reason']}")
    return answer["reason"]
