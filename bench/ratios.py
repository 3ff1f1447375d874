#!/usr/bin/python3
"""What the command costs next to what everybody knows: check against sha256sum, canonicalize against cp.

    bench/ratios.py --attnsym build/release/tools/attnsym [--model DIR [--large]] [--repetitions N] [--work DIR]

All jobs take turns in one run with the files in the page cache, nothing left to be written and free memory at hand; medians are compared. DIR is all-MiniLM-L6-v2 by default;
--large is for models of a billion parameters, see make_llama.py, compares them as wholes too, and takes 5 times their size in --work.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEGABYTE = 1e6


@dataclass(frozen=True)
class Bounds:
    canonicalize: float  # times cp
    peak: float          # bytes
    check: float = 0.5   # times sha256sum
    whole: float = 1     # likewise, with --scope model
    whole_peak: float = 800 * MEGABYTE


SMALL, LARGE = Bounds(3, 200 * MEGABYTE), Bounds(2, 600 * MEGABYTE)


@dataclass
class Job:
    name: str
    command: list
    output: Path | None = None  # removed before every run
    expected: int = 0  # exit status
    seconds: list = field(default_factory=list)
    processor: list = field(default_factory=list)
    peak: float = 0  # bytes

    def run(self, memory):
        os.sync()  # what the last job wrote is not written at the cost of this one
        if self.output:
            shutil.rmtree(self.output, ignore_errors=True)
        touch_free_memory(memory)
        start = time.perf_counter()
        process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        self.seconds.append(time.perf_counter() - start)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != self.expected:
            sys.exit(f"ratios: {self.name} ended with {process.returncode}")
        self.processor.append(usage.ru_utime + usage.ru_stime)
        self.peak = max(self.peak, usage.ru_maxrss * 1024)

    def median(self):
        return statistics.median(self.seconds)


def touch_free_memory(size):
    """Virtual machines give free pages back to their hosts, and whoever takes them first waits: nobody's job here."""
    subprocess.run([sys.executable, "-c", f"b'x' * {size}"], check=True)


def main():
    options = parse()
    model = options.model or subprocess.run([ROOT / "scripts/fetch-minilm"], check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        jobs = prepare(options.attnsym, model, Path(work), options.large)
        memory = 2 * sum(file.stat().st_size for file in Path(model).rglob("*") if file.is_file())
        for job in jobs.values():
            job.run(memory)  # fills the cache
            job.seconds.clear()
            job.processor.clear()
        for _ in range(options.repetitions):
            for job in jobs.values():
                job.run(memory)
        report(jobs, options)


def prepare(attnsym, model, work, large):
    a, b, out, copy = (work / name for name in ("A", "B", "out", "copy"))
    shutil.copytree(model, a)
    subprocess.run([attnsym, "act", a, "-o", b], check=True, stdout=subprocess.DEVNULL)
    weights = [directory / "model.safetensors" for directory in (a, b)]
    jobs = {
        "sha256sum": Job("sha256sum A B", ["sha256sum", *weights]),
        "check": Job("attnsym check A B", [attnsym, "check", a, b]),
        "cp": Job("cp -r A copy", ["cp", "-r", a, copy], copy),
        "canonicalize": Job("attnsym canonicalize A", [attnsym, "canonicalize", a, "-o", out, "--no-sync"], out),
    }
    if large:
        moved = work / "P"
        subprocess.run([attnsym, "act", a, "-o", moved, "--scope", "model", "--only", "heads,readers,qk,vo,neurons"], check=True,
                       stdout=subprocess.DEVNULL)
        jobs["whole"] = Job("attnsym check A P, whole", [attnsym, "check", a, moved, "--scope", "model"])
    return jobs


def report(jobs, options):
    print(f"{options.repetitions} repetitions each, taking turns, {os.cpu_count()} processors, warm cache\n")
    print(f"{'':24}{'median s':>10}{'min':>8}{'max':>8}{'cpu s':>8}{'peak MB':>9}")
    for job in jobs.values():
        print(f"{job.name:24}{job.median():10.3f}{min(job.seconds):8.3f}{max(job.seconds):8.3f}"
              f"{statistics.median(job.processor):8.3f}{job.peak / MEGABYTE:9.1f}")
    print()
    wanted = LARGE if options.large else SMALL
    peak = max(jobs["check"].peak, jobs["canonicalize"].peak)
    bounds = [
        ("check / sha256sum", jobs["check"].median() / jobs["sha256sum"].median(), wanted.check),
        ("canonicalize / cp", jobs["canonicalize"].median() / jobs["cp"].median(), wanted.canonicalize),
        (f"peak memory / {wanted.peak / MEGABYTE:.0f} MB", peak / wanted.peak, 1),
    ]
    if "whole" in jobs:
        whole = jobs["whole"]
        bounds.append(("whole / sha256sum", whole.median() / jobs["sha256sum"].median(), wanted.whole))
        bounds.append((f"peak of whole / {wanted.whole_peak / MEGABYTE:.0f} MB", whole.peak / wanted.whole_peak, 1))
    for name, ratio, bound in bounds:
        print(f"{name:24}{ratio:10.3f}   wanted at most {bound}: {'yes' if ratio <= bound else 'NO'}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attnsym", required=True, help="the command, from a release build")
    parser.add_argument("--model", help="a model directory")
    parser.add_argument("--large", action="store_true", help="bounds for a billion parameters")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--work", help="an existing directory for temporary files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
