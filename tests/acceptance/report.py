"""Claims, one line each: what is claimed, whether it was shown, and the figures."""

import time
from dataclasses import dataclass
from typing import Callable


class NotShown(Exception):
    """The claim is false, with the figures that say so."""


class Skipped(Exception):
    """The claim cannot be tried on this model."""


@dataclass
class Claim:
    name: str
    show: Callable  # of a Workbench, returns figures


def require(condition, figures):
    if not condition:
        raise NotShown(figures)


def run(claims, bench):
    """Whether every claim was shown or skipped. Prints as it goes."""
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    for claim in claims:
        start = time.monotonic()
        mark, figures = _try(claim, bench)
        counts[mark] += 1
        print(f"{mark:4} {claim.name}: {figures}  [{time.monotonic() - start:.1f} s]", flush=True)
    print(f"\n{counts['ok']} shown, {counts['FAIL']} failed, {counts['skip']} skipped")
    return counts["FAIL"] == 0 and counts["ok"] > 0


def _try(claim, bench):
    """A crash of the harness or of the command under test fails its claim, and the others still run."""
    try:
        with bench.scratch_cleared():
            return "ok", claim.show(bench)
    except Skipped as skipped:
        return "skip", f"NOT TRIED, {skipped}"
    except NotShown as failure:
        return "FAIL", str(failure)
    except Exception as error:
        return "FAIL", f"{type(error).__name__}: {error}"
