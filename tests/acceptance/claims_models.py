"""Claims about whole models: of every family with random weights, and of small trained ones, judged by NumPy."""

from functools import partial
from pathlib import Path

import numpy as np

import family_fixtures
import family_model
import model_numpy
import model_passes as passes
from report import Claim, Skipped, require

SAME = ("identical", "equivalent")
OUTPUTS = 1e-4   # relative, of outputs after weights were rounded to F32
REPLAY = 1e-9    # relative, of outputs in a witness
FORM = 1e-4      # relative, per tensor: canonical forms from two bases
TOKENS = [1, 5, 3, 0, 2, 7, 4, 6, 5, 1]
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"  # not part of the project
STORIES, SORTER = SHARED / "stories260K", SHARED / "gpt-nano-sort" / "hf"
FAMILIES = list(family_fixtures.FIXTURES)

INTERPRETABILITY = (passes.fold_norms, passes.centre_writers, passes.fold_value_biases, passes.refactor_circuits)
WRONG_LLAMA = (passes.rotate_stream, passes.remove_means, passes.scale_gate, passes.swap_neurons_in_up_only,
               passes.drop_final_gain, passes.add_one_to_gains, passes.permute_stream_but_not_gains)
WRONG_GPT2 = (passes.shift_positions_by_one_row, passes.keep_norm_bias_after_folding)


def claims():
    return ([Claim(f"{name}, whole: {what}", partial(show, name)) for name in FAMILIES
             for what, show in (("act on all that its group allows", _acted), ("canonical form", _canonical),
                                ("one edited number", _edited))]
            + [Claim("vit, whole: what patches, class token and positions may trade", _vit_trades),
               Claim("ReLU gates, whole: canonical form", _relu_gates),
               Claim("classifiers and projectors are not left behind by a moved stream", _beside),
               Claim("RoBERTa's positions begin behind its padding", _padding),
               Claim("interpretability passes, on a random GPT-2", partial(_interpretability, _untied("gpt2"))),
               Claim("interpretability passes, on gpt-nano-sort", partial(_interpretability, _sorter)),
               Claim("a rotation pass in the manner of QuaRot", _quarot),
               Claim("part of a whole model in BF16", _mixed),
               Claim("wrong elements of whole models", _wrong),
               Claim("stories260K, llama2.c against Hugging Face, whole", _stories)])


def _fixture(bench, name, dtype="F32"):
    directory = bench.folder / f"fixture-{name}-{dtype}"
    if not directory.exists():
        family_fixtures.make(name, directory, dtype)
    return directory


def _acted(name, bench):
    figures = []
    for dtype in ("F32", "BF16"):
        fixture, acted = _fixture(bench, name, dtype), bench.scratch(f"acted-{dtype}")
        bench.attnsym.rewrite_model("act", fixture, acted, "--seed", 7)
        figures.append(_same(bench, fixture, acted, f"act, {dtype}", None if dtype == "BF16" else OUTPUTS))
    return "; ".join(figures)


def _configured(bench, name, **config):
    target = bench.scratch("-".join([name, *map(str, config.values())]))
    with family_model.edited_copy(_fixture(bench, name), target) as model:
        model.config.update(config)
    return target


def _relu_gates(bench):
    return _one_form(bench, _configured(bench, "llama", hidden_act="relu"))


def _beside(bench):
    """Nobody would move it along; where the stream stays it is copied."""
    for family, name in (("llama", "score.weight"), ("gemma3", "multi_modal_projector.mm_input_projection_weight")):
        source, out = bench.scratch(f"beside-{name}"), bench.scratch(f"moved-{name}")
        with family_model.edited_copy(_untied(family)(bench), source) as model:
            model.tensors.store(name, np.ones((2, 32)), "F32")
        for command in ("canonicalize", "act"):
            said = bench.attnsym.refusal(command, source, "-o", out, "--scope", "model")
            require(f"'{name}' meets the stream" in said, said)
        bench.attnsym.rewrite_model("act", source, out, "--only", "neurons")
        before, after = (family_model.load(each).tensors for each in (source, out))
        kept = (name, "model.norm.weight" if family == "llama" else "model.language_model.norm.weight", "lm_head.weight")
        require(all(np.array_equal(before.numbers(each), after.numbers(each)) for each in kept), "the stream moved")
    return said.strip()[-60:]


def _padding(bench):
    """With token p for padding, row p + 1 is the first that is read."""
    table = "roberta.embeddings.position_embeddings.weight"
    for padding in (0, 1):
        source = _configured(bench, "roberta", pad_token_id=padding)
        for row in range(3):
            edited = bench.scratch(f"row-{padding}-{row}")
            with family_model.edited_copy(source, edited) as model:
                numbers = model.tensors.numbers(table).copy()
                numbers[row] = numbers[row, ::-1]
                model.tensors.store(table, numbers, "F32")
            verdict = bench.attnsym.check_models(source, edited)["verdict"]
            wanted = "distinct" if row > padding else "identical"
            require(verdict == wanted, f"padding {padding}, row {row}: {verdict}, not {wanted}")
    return "two tokens, three rows each"


def _canonical(name, bench):
    return _one_form(bench, _fixture(bench, name))


def _one_form(bench, fixture):
    """One form for two bases, of the same function."""
    moved = bench.scratch("moved")
    bench.attnsym.rewrite_model("act", fixture, moved, "--seed", 8)
    forms = [bench.scratch(f"canonical-{i}") for i in range(3)]
    for source, form in zip((fixture, moved, forms[0]), forms):
        bench.attnsym.rewrite_model("canonicalize", source, form)
    apart, again = (_tensor_change(forms[0], other) for other in forms[1:])
    figures = f"{_same(bench, fixture, forms[0], 'canonicalize')}, other basis {apart:.1e}, twice {again:.1e}"
    require(apart <= FORM and again <= FORM, figures)
    return figures


def _edited(name, bench):
    """Tokens tell, and NumPy finds the outputs that the witness claims: the forward pass is the family's."""
    fixture, edited = _fixture(bench, name), bench.scratch("edited")
    with family_model.edited_copy(fixture, edited) as model:
        tensor = next(n for n in model.tensors.stored if "layers.1" in n or "layer.1" in n or "h.1" in n
                      if n.endswith(("down_proj.weight", "4h_to_h.weight", "mlp.c_proj.weight", "output.dense.weight",
                                     "fc2.weight")) and "attention" not in n)
        values = model.tensors.numbers(tensor)
        values[1, 2] += 0.5
        model.tensors.store(tensor, values)
    figures = _distinct(bench, fixture, edited, "one number")
    require("block 1: MLP" in figures, figures)
    return figures


def _vit_trades(bench):
    """The bias of patches and their positions, the class token and its own; not numbers of patches and their bias."""
    fixture = _fixture(bench, "vit")
    trades = {"bias and positions": (("patch_embeddings.projection.bias", np.s_[:]), ("position_embeddings", np.s_[0, 1:])),
              "class token and its position": (("cls_token", np.s_[0, 0]), ("position_embeddings", np.s_[0, 0])),
              "numbers and bias": (("patch_embeddings.projection.weight", np.s_[:, 0, 0, 0]),
                                   ("patch_embeddings.projection.bias", np.s_[:]))}
    figures = []
    for what, places in trades.items():
        target = bench.scratch(what.replace(" ", "-"))
        with family_model.edited_copy(fixture, target) as model:
            shift = np.random.default_rng(9).standard_normal(model.config["hidden_size"])
            for sign, (name, where) in zip((1, -1), places):
                values = model.tensors.numbers("vit.embeddings." + name)
                values[where] += sign * shift
                model.tensors.store("vit.embeddings." + name, values)
        show = _distinct if what == "numbers and bias" else _same
        figures.append(f"{what}: {show(bench, fixture, target, what)}")
    return "; ".join(figures)


def _untied(name):
    def make(bench, dtype="F32"):
        target = bench.scratch(f"untied-{name}-{dtype}")
        if not target.exists():
            with family_model.edited_copy(_fixture(bench, name, dtype), target) as model:
                passes.untie(model)
        return target
    return make


def _sorter(bench):
    if not SORTER.exists():
        raise Skipped(f"there is no {SORTER}")
    return SORTER


def _interpretability(source, bench):
    source, figures = source(bench), []
    for number, chosen in enumerate([(one,) for one in INTERPRETABILITY] + [INTERPRETABILITY]):
        target = bench.scratch(f"passed-{number}")
        with family_model.edited_copy(source, target) as model:
            for one in chosen:
                one(model)
        figures.append(_same(bench, source, target, " and ".join(one.__name__ for one in chosen)))
    target = bench.scratch("centred")
    with family_model.edited_copy(source, target) as model:
        for one in (*INTERPRETABILITY, passes.centre_unembedding):
            one(model)
    _distinct(bench, source, target, "centred unembedding, logits")
    answer = bench.attnsym.check_models(source, target, "--outputs", "probabilities")
    require(answer["verdict"] in SAME, f"centred unembedding: {answer['verdict']}: {answer['reason']}")
    return f"{len(figures)} times {figures[-1]}; with a centred unembedding for probabilities only"


def _quarot(bench):
    figures = []
    for dtype in ("F64", "BF16"):
        source, target = _untied("llama")(bench, dtype), bench.scratch(f"rotated-{dtype}")
        with family_model.edited_copy(source, target) as model:
            passes.quarot(model)
        figures.append(f"{dtype}: " + _same(bench, source, target, dtype, None if dtype == "BF16" else OUTPUTS))
    return "; ".join(figures)


def _mixed(bench):
    """Only some tensors of B are rounded: scales of neurons that are fitted to them must not move what is exact."""
    source = _fixture(bench, "llama")
    for number, part in enumerate(("up_proj", "gate_proj", "down_proj", "layernorm")):
        target = bench.scratch(f"mixed-{number}")
        with family_model.edited_copy(source, target) as model:
            for name in [name for name in model.tensors.stored if part in name]:
                model.tensors.store(name, model.tensors.numbers(name), "BF16")
        _same(bench, source, target, part, None)
    return "equivalent"


def _wrong(bench):
    figures = []
    sources = {one: (_untied("llama")(bench), one) for one in WRONG_LLAMA}
    sources |= {one: (_untied("gpt2")(bench), one) for one in WRONG_GPT2}
    sources["rotation of a tied model"] = (_fixture(bench, "llama"), passes.rotate_stream)
    relu = bench.scratch("relu")
    with family_model.edited_copy(_fixture(bench, "gpt2"), relu) as model:
        model.config["activation_function"] = "relu"
    sources["negative scale"] = (relu, passes.negative_relu_scale)
    for number, (source, slip) in enumerate(sources.values()):
        target = bench.scratch(f"wrong-{number}")
        with family_model.edited_copy(source, target) as model:
            slip(model)
        figures.append(_distinct(bench, source, target, slip.__name__))
    return f"{len(figures)} distinct, such as {figures[-1]}"


def _stories(bench):
    if not STORIES.exists():
        raise Skipped(f"there is no {STORIES}")
    answer = bench.attnsym.check_models(STORIES / "hf", STORIES / "stories260K.bin")
    require(answer["verdict"] == "identical", f"{answer['verdict']}: {answer['reason']}")
    return f"{answer['verdict']}, stream {answer['stream']}"


def _same(bench, a, b, what, limit=OUTPUTS):
    """The figures, once the command has said that a and b are one model and NumPy has agreed."""
    answer = bench.attnsym.check_models(a, b)
    one, other = (model_numpy.outputs(family_model.load(directory), _tokens(a)) for directory in (a, b))
    off = np.linalg.norm(one - other) / np.linalg.norm(one)
    figures = f"{answer['verdict']}, stream {answer['stream']}, outputs within {off:.1e}"
    require(answer["verdict"] in SAME, f"{what}: {figures}: {answer['reason']}")
    require(limit is None or off <= limit, f"{what}: {figures}")
    return figures


def _tokens(directory):
    """Ids that the vocabulary has; of a vision transformer as many as it has patches."""
    model = family_model.load(directory)
    spec = model_numpy._spec(model.config)
    if spec.class_token:
        patches = model.tensors.numbers(spec.positions).shape[1] - 1
        numbers = model.tensors.numbers(spec.embedding + ".weight")[0].size
        return [7 * n % (numbers + 1) for n in range(patches)]
    vocabulary = len(model.tensors.numbers(spec.embedding + ".weight"))
    return [token % vocabulary for token in TOKENS]


def _distinct(bench, a, b, what):
    """What the command says, once NumPy has found the outputs that the witness claims."""
    answer = bench.attnsym.check_models(a, b)
    require(answer["verdict"] == "distinct", f"{what}: {answer['verdict']}: {answer['reason']}")
    witness = answer["witness"]
    for directory, claimed in ((a, witness["output_a"]), (b, witness["output_b"])):
        found = model_numpy.outputs(family_model.load(directory), witness["tokens"])
        off = abs(found[witness["position"], witness["output"]] - claimed) / np.abs(found).max()
        require(off <= REPLAY, f"{what}: an output in the witness is off by {off:.1e}")
    return answer["reason"]


def _tensor_change(a, b):
    one, other = (family_model.load(directory).tensors for directory in (a, b))
    changes = []
    for name in one.stored:
        if one.dtypes[name] not in ("F64", "F32", "F16", "BF16"):
            continue
        old, new = one.numbers(name), other.numbers(name)
        changes.append(np.linalg.norm(new - old) / max(np.linalg.norm(old), 1e-30))
    return max(changes)
