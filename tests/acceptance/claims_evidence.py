"""Claims about certificates: genuine ones are accepted, and no byte of model or certificate changes unnoticed."""

import shutil
from contextlib import contextmanager

import numpy as np

import edits
import safetensors_numpy
from command import ACCEPTED, REJECTED, TROUBLE
from report import Claim, require

SAMPLE = 40
MASKS = (0x01, 0x20, 0x80, 0xFF)  # a digit or letter becomes its neighbour, upper becomes lower case, a sign flips, all


def claims():
    files = [("model.safetensors", SAMPLE), ("config.json", SAMPLE // 4)]
    return [
        *(Claim(f"certify accepts the certificate of {name}", _genuine(make)) for name, make in GENUINE.items()),
        Claim("certify rejects a certificate of other models", _of_others),
        *(Claim(f"certify rejects after a byte of {name} changed in {which}", _tampered_model(which, name, sample))
          for which in "AB" for name, sample in files),
        *(Claim(f"certify rejects after a byte of the certificate of {name} changed", _tampered_certificate(make))
          for name, make in GENUINE.items()),
    ]


def _check(other):
    """A certificate of check A B, and B."""
    def make(bench):
        b = other(bench)
        bench.attnsym.check(bench.model, b, certificate=bench.scratch("certificate"))
        return bench.scratch("certificate"), b
    return make


def _rewrite(rewritten):
    """The certificate that came with B."""
    return lambda bench: (rewritten(bench).certificate, rewritten(bench).directory)


def _nudged(bench):
    edits.nudge_weight(bench.model, bench.scratch("edited"), 1, 2, "query", 0.01)
    return bench.scratch("edited")


GENUINE = {
    "check (identical)": _check(lambda bench: bench.acted(options=("--exact",)).directory),
    "check (equivalent)": _check(lambda bench: bench.acted().directory),
    "check (distinct)": _check(_nudged),
    "act": _rewrite(lambda bench: bench.acted()),
    "act in F16": _rewrite(lambda bench: bench.acted(10, "F16")),
    "canonicalize": _rewrite(lambda bench: bench.canonical()),
}


def _genuine(make):
    def show(bench):
        certificate, b = make(bench)
        status = bench.attnsym.certify(certificate, bench.model, b)
        require(status == ACCEPTED, f"exit status {status}")
        return f"{certificate.stat().st_size} bytes, accepted"
    return show


def _of_others(bench):
    """Models that are fine, only not these."""
    certificate = bench.acted().certificate
    pairs = {"A changed": (_nudged(bench), bench.acted().directory),
             "B changed": (bench.model, bench.canonical().directory),
             "A and B swapped": (bench.acted().directory, bench.model)}
    found = {name: bench.attnsym.certify(certificate, *pair) for name, pair in pairs.items()}
    require(set(found.values()) == {REJECTED}, str(found))
    return ", ".join(found)


def _tampered_model(which, name, sample):
    def show(bench):
        acted = bench.acted()
        pair = {"A": bench.model, "B": acted.directory}
        shutil.copytree(pair[which], bench.scratch(which))
        pair[which] = bench.scratch(which)
        return _every_change_is_rejected(bench, pair[which] / name, sample, acted.certificate, pair["A"], pair["B"])
    return show


def _tampered_certificate(make):
    def show(bench):
        certificate, b = make(bench)
        copy = shutil.copy(certificate, bench.scratch("tampered"))
        return _every_change_is_rejected(bench, copy, SAMPLE, copy, bench.model, b)
    return show


def _every_change_is_rejected(bench, path, sample, certificate, a, b):
    """Rejected, or not even readable; and accepted again once the byte is back, so that it was the byte."""
    unreadable = 0
    for number, place in enumerate(_places(path, sample)):
        mask = MASKS[number % len(MASKS)]
        with _byte_changed(path, place, mask):
            status = bench.attnsym.certify(certificate, a, b)
        require(status in (REJECTED, TROUBLE), f"exit status {status} after byte {place} of {path.name} ^ {mask:#x}")
        unreadable += status == TROUBLE
    require(bench.attnsym.certify(certificate, a, b) == ACCEPTED, "not accepted after the byte was put back")
    return f"{sample} of {sample} changes noticed, {unreadable} of them as unreadable"


def _places(path, sample):
    """Half in the header and half in the data, with first and last byte; anywhere in a file that has no such parts."""
    random, size = np.random.default_rng(11), path.stat().st_size
    if path.suffix == ".json":
        return np.sort(random.choice(size, sample, replace=False)).tolist()
    header = safetensors_numpy.header_size(path)
    inside = random.choice(header, sample // 2 - 1, replace=False).tolist()
    behind = random.integers(header, size, sample - sample // 2 - 1).tolist()
    return sorted([0, *inside, *behind, size - 1])


@contextmanager
def _byte_changed(path, place, mask):
    with open(path, "r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        _put(file, place, byte ^ mask)
        yield
        _put(file, place, byte)


def _put(file, place, byte):
    file.seek(place)
    file.write(bytes([byte]))
    file.flush()
