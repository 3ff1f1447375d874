"""Claims about pairs that compute the same attention."""

import shutil

import bert_model
import circuits_numpy
import edits
from command import head_images
from report import Claim, NotShown, require

WORST_RESOLUTION = 0.05   # beyond it the answer has to be undecided
BORDER = 1.2              # this close to it either answer will do
RATIO_RANGE = (0.5, 2.0)
AGREEMENT = 1.5           # the command may count the rounding of A or not: a factor of sqrt(2)


def claims():
    cases = [(condition, dtype) for condition in (10, 1000) for dtype in ("F32", "F16", "BF16")]
    return [
        *(Claim(f"check A act(A), condition {condition}, {dtype}", _acted(condition, dtype))
          for condition, dtype in cases),
        Claim("check prints the resolution for people", _text_names_resolution),
        Claim("check A A", lambda bench: _verdict(bench, bench.model, "identical")),
        Claim("check A copy", _copy),
        Claim("check A act(A), heads permuted only", _exact(("--only", "heads"))),
        Claim("check A act(A), signs and powers of two", _exact(("--exact",))),
        Claim("two heads trade places, done in NumPy", _edited("identical", edits.swap_heads, 1, 0, 3)),
        Claim("change of basis in every head, done in NumPy", _edited("equivalent", edits.regauge)),
        Claim("K bias shifted", _edited("equivalent", edits.shift_key_bias)),
        Claim("V bias moved into the output bias", _edited("equivalent", edits.move_value_bias)),
    ]


def _acted(condition, dtype):
    def show(bench):
        acted = bench.acted(condition, dtype)
        answer = bench.attnsym.check(bench.model, acted.directory)
        independent = _independent(bench, acted)
        resolution = max(head["resolution"] for layer in answer["layers"] for head in layer["heads"])
        figures = (f"{answer['verdict']}, {_figures(bench, answer, acted)}, "
                   f"independently {_span(independent, 'resolution')}")
        _require_verdict(answer, max(independent["resolution"]), figures)
        if answer["verdict"] == "equivalent":
            require(resolution <= WORST_RESOLUTION, figures)
            _require_matched(bench, answer, acted, figures)
            _require_ratios(answer, figures)
            _require_agreement(answer, independent, figures)
        return figures
    return show


def _exact(options):
    def show(bench):
        acted = bench.acted(options=options)
        answer = bench.attnsym.check(bench.model, acted.directory)
        figures = f"{answer['verdict']}, {_matched(bench, answer, acted)} heads as the certificate says"
        require(answer["verdict"] == "identical", figures)
        _require_matched(bench, answer, acted, figures)
        return figures
    return show


def _edited(verdict, edit, *arguments):
    def show(bench):
        edit(bench.model, bench.scratch("edited"), *arguments)
        return _verdict(bench, bench.scratch("edited"), verdict)
    return show


def _copy(bench):
    shutil.copytree(bench.model, bench.scratch("copy"))
    return _verdict(bench, bench.scratch("copy"), "identical")


def _text_names_resolution(bench):
    text = bench.attnsym.check_text(bench.model, bench.acted().directory)
    require("resolution" in text.lower(), "no such word in the output")
    return "the word is there"


def _verdict(bench, other, expected):
    answer = bench.attnsym.check(bench.model, other)
    figures = f"{answer['verdict']}, ratio up to {answer['worst']['rounding_ratio']:.3g}"
    if answer["verdict"] != expected:
        raise NotShown(f"{figures}, expected {expected}: {answer['reason']}")
    return figures


def _require_verdict(answer, resolution, figures):
    """Equivalent where the resolution allows it; undecided, and why, where it does not."""
    if resolution <= WORST_RESOLUTION / BORDER:
        require(answer["verdict"] == "equivalent", f"{figures}: {answer['reason']}")
    elif resolution >= WORST_RESOLUTION * BORDER:
        require(answer["verdict"] == "undecided", f"{figures}: expected undecided")
    else:
        require(answer["verdict"] in ("equivalent", "undecided"), f"{figures}: {answer['reason']}")
    if answer["verdict"] == "undecided":
        require("resolution" in answer["reason"], f"{figures}: the reason does not mention it: {answer['reason']}")


def _require_matched(bench, answer, acted, figures):
    require(_matched(bench, answer, acted) == bench.layers * bench.heads, figures)


def _require_ratios(answer, figures):
    low, high = RATIO_RANGE
    require(all(low <= ratio <= high for ratio in _ratios(answer)), figures)


def _require_agreement(answer, independent, figures):
    """The ratios printed are those of the definition."""
    for told, found in zip(_ratios(answer), independent["ratio"]):
        require(1 / AGREEMENT <= told / found <= AGREEMENT,
                f"{figures}: ratio {told:.3g} told, {found:.3g} independently")


def _figures(bench, answer, acted):
    resolutions = [head["resolution"] for layer in answer["layers"] for head in layer["heads"]]
    heads = {"ratio": _ratios(answer), "resolution": resolutions}
    return (f"{_matched(bench, answer, acted)} of {bench.layers * bench.heads} heads as the certificate says, "
            + ", ".join(_span(heads, name) for name in heads))


def _span(values, name):
    found = values[name]
    return f"{name} {min(found):.3g} to {max(found):.3g}" if found else f"no {name}"


def _matched(bench, answer, acted):
    """How many heads have the image that the certificate of act names."""
    rows = zip((layer["head_image"] for layer in answer["layers"]), head_images(acted.certificate, bench.layers))
    return sum(told == true for row in rows for told, true in zip(*row))


def _ratios(answer):
    heads = [sorted(layer["heads"], key=lambda head: head["head"]) for layer in answer["layers"]]
    return [head[name] for layer in heads for head in layer for name in ("qk_ratio", "vo_ratio")]


def _independent(bench, acted):
    """Ratios and resolutions in the order of _ratios, matched as the certificate says."""
    a, b = bert_model.load(bench.model), bert_model.load(acted.directory)
    found = [circuits_numpy.compare_heads(a, b, layer, head, image)[name]
             for layer, images in enumerate(head_images(acted.certificate, bench.layers))
             for head, image in enumerate(images) for name in ("qk", "vo")]
    return {"ratio": [ratio for ratio, _ in found], "resolution": [resolution for _, resolution in found]}
