#!/usr/bin/python3
"""Time and peak memory where one extent of a model is very large.

    bench/large_shapes.py --attnsym build/release/tools/attnsym [--before ANOTHER] [--shape NAME ...] [--work DIR]

The shapes are those of SHAPES, random and in BF16. B is A with its attention moved; whole models are compared with a copy whose heads and
neurons are moved. `certify` reads the certificate of `check`. --before runs another build of the command beside this one. Every
job runs once, with the files in the page cache: growth is what counts here, not per cents.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ratios

HERE = Path(__file__).resolve().parent
SHAPES = {
    "4,096 heads": {"width": 8192, "heads": 4096, "kv-heads": 4096, "layers": 1, "ffn": 16, "vocabulary": 32},
    "width 8,192": {"width": 8192, "heads": 64, "kv-heads": 64, "layers": 1, "ffn": 16, "vocabulary": 32},
    "10^5 tensors": {"width": 8, "heads": 2, "kv-heads": 2, "layers": 11111, "ffn": 8, "vocabulary": 32},
    "10^6 rows": {"width": 64, "heads": 4, "kv-heads": 4, "layers": 1, "ffn": 64, "vocabulary": 1000000},
    "1,000 layers": {"width": 128, "heads": 4, "kv-heads": 4, "layers": 1000, "ffn": 128, "vocabulary": 32},
}
WHOLE = {"10^5 tensors", "10^6 rows", "1,000 layers"}  # compared as whole models, too


def make(attnsym, shape, work):
    """A, B and P in an empty folder."""
    for name in ("A", "B", "P"):
        shutil.rmtree(work / name, ignore_errors=True)
    options = [word for key, value in SHAPES[shape].items() for word in (f"--{key}", str(value))]
    subprocess.run([sys.executable, HERE / "make_llama.py", work / "A", *options], check=True)
    moved = ["--scope", "model", "--only", "heads,readers,qk,vo,neurons"]
    for out, more in (("B", []), ("P", moved)) if shape in WHOLE else (("B", []),):
        subprocess.run([attnsym, "act", work / "A", "-o", work / out, *more], check=True, stdout=subprocess.DEVNULL)


def jobs(attnsym, shape, work):
    a, b, p, cert = work / "A", work / "B", work / "P", work / "certificate"
    yield ratios.Job("check A B", [attnsym, "check", a, b, "--certificate", cert, "--force"])
    yield ratios.Job("certify A B", [attnsym, "certify", cert, a, b])
    yield ratios.Job("canonicalize A", [attnsym, "canonicalize", a, "-o", work / "canonical"], work / "canonical")
    if shape in WHOLE:
        yield ratios.Job("check A P --scope model", [attnsym, "check", a, p, "--scope", "model", "--certificate", cert, "--force"])
        yield ratios.Job("certify A P, whole", [attnsym, "certify", cert, a, p])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attnsym", required=True, type=Path)
    parser.add_argument("--before", type=Path, help="another build of the command, to compare with")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="one shape; may be repeated; all by default")
    parser.add_argument("--work", type=Path, help="where the models are written, up to 3 GB each")
    options = parser.parse_args()
    builds = {"": options.attnsym.resolve()} | ({"before: ": options.before.resolve()} if options.before else {})
    print("| shape | job | seconds | peak memory | times the file |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        for shape in options.shape or SHAPES:
            work = Path(folder)
            make(options.attnsym.resolve(), shape, work)
            size = (work / "A" / "model.safetensors").stat().st_size
            for label, attnsym in builds.items():
                for job in jobs(attnsym, shape, work):
                    job.run(0)
                    print(f"| {shape} ({size / 1e6:.0f} MB) | {label}{job.name} | {job.seconds[0]:.2f} | {job.peak / 1e6:.0f} MB | "
                          f"{job.peak / size:.1f} |", flush=True)


if __name__ == "__main__":
    main()
