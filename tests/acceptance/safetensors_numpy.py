"""Reads and writes safetensors files with NumPy alone, so that nothing here is shared with the code under test."""

import json
import struct
from dataclasses import dataclass, field

import numpy as np

STORED_AS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}
FLOATING = ("F64", "F32", "F16", "BF16")


@dataclass
class TensorFile:
    """Tensors in the order of their data. BF16 is kept as its 16 bits; `numbers` and `store` convert."""

    stored: dict = field(default_factory=dict)
    dtypes: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)

    def __contains__(self, name):
        return name in self.stored

    def numbers(self, name):
        """The tensor as float64, or as it is if it holds integers."""
        bits, dtype = self.stored[name], self.dtypes[name]
        if dtype not in FLOATING:
            return bits
        return (bf16_to_f32(bits) if dtype == "BF16" else bits).astype(np.float64)

    def store(self, name, values, dtype=None):
        """Rounds values to dtype, by default to the one this tensor already has."""
        dtype = dtype or self.dtypes[name]
        values = np.asarray(values)
        self.stored[name] = f32_to_bf16(values) if dtype == "BF16" else values.astype(STORED_AS[dtype])
        self.dtypes[name] = dtype


def bf16_to_f32(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def f32_to_bf16(values):
    """Rounds to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def header_size(path):
    """Bytes before the data begins."""
    with open(path, "rb") as file:
        return 8 + struct.unpack("<Q", file.read(8))[0]


def read(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    result = TensorFile(metadata=header.pop("__metadata__", {}))
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data[begin:end], dtype=STORED_AS[entry["dtype"]])
        result.stored[name] = array.reshape(entry["shape"])
        result.dtypes[name] = entry["dtype"]
    return result


def write(path, tensors):
    header = {"__metadata__": tensors.metadata} if tensors.metadata else {}
    end = 0
    for name, array in tensors.stored.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": tensors.dtypes[name], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.stored.values():
            file.write(np.ascontiguousarray(array).tobytes())
