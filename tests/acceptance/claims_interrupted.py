"""Claims about writing: whatever happens, OUT is the old one or the complete new one."""

import hashlib
import json
import random
import shutil
import time

from name_events import NameEvents
from report import Claim, require

KILLS = 40
WATCHED_RUNS = 3


def claims():
    return [
        Claim("canonicalize writes the same bytes every time", _deterministic),
        Claim("kill -9 during canonicalize --force leaves old or new", _killed),
        Claim("OUT is there at every moment while it is replaced", _watched),
    ]


def _deterministic(bench):
    bench.attnsym.canonicalize(bench.model, bench.scratch("again"))
    require(_fingerprint(bench.scratch("again")) == _fingerprint(bench.canonical().directory), "two runs differ")
    return "two runs, same files and bytes"


def _killed(bench):
    """The moments are spread over the whole run, every second one over its last third, where the renaming is."""
    out, moments = bench.scratch("out"), random.Random(3)
    old, new = _fingerprint(bench.model), _fingerprint(bench.canonical().directory)
    require(old != new, "the model is in canonical form already, so old and new look alike")
    _put_old(bench, out)
    old = _fingerprint(out)
    duration, seen = _duration_of_overwriting(bench, out), {"old": 0, "new": 0, "cut short": 0}
    for number in range(KILLS):
        _put_old(bench, out)
        killed = _kill_after(bench, out, duration * moments.uniform(0.7 if number % 2 else 0, 1.1))
        found = _fingerprint(out)
        require(found in (old, new), f"kill {number}: OUT is neither old nor new ({len(found)} files)")
        seen["old" if found == old else "new"] += 1
        seen["cut short"] += killed
    leftovers = sum(path != out for path in out.parent.iterdir())
    return (f"{KILLS} kills within {duration:.2f} s: {seen['cut short']} hit the running command, "
            f"{seen['old']} left old, {seen['new']} new, {leftovers} partial siblings remain")


def _watched(bench):
    """Shown from the order of the events, because kills seldom fall between two renames."""
    out, seen = bench.scratch("out"), []
    for _ in range(WATCHED_RUNS):
        _put_old(bench, out)
        with NameEvents(out) as events:
            _duration_of_overwriting(bench, out)
            balances = events.balances()
        require(balances, "OUT was never replaced, only written into")
        require(min(balances) >= 0, "OUT was moved away or deleted before its successor was there")
        seen.append(len(balances))
    return f"{WATCHED_RUNS} runs, {sum(seen)} changes of the name"


def _duration_of_overwriting(bench, out):
    """Seconds of an undisturbed run."""
    start = time.monotonic()
    require(bench.attnsym.start_canonicalize_over(bench.model, out).wait() == 0, "canonicalize --force fails")
    return time.monotonic() - start


def _kill_after(bench, out, seconds):
    """Whether it was still running."""
    running = bench.attnsym.start_canonicalize_over(bench.model, out)
    time.sleep(seconds)
    running.kill()
    return running.wait() != 0


def _put_old(bench, out):
    """The model as if attnsym had written it, with the list of its files."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(bench.model, out)
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))
    (out / ".attnsym.json").write_text(json.dumps({"schema": "attnsym.output/1", "files": names}))


def _fingerprint(directory):
    """Relative path and SHA-256 of every file; empty if there is no directory."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return [(str(path.relative_to(directory)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
