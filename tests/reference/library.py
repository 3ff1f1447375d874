"""The reference library, Hugging Face transformers, as the judge: what the model in a directory puts out, in float64.

Needs torch and transformers. Three distances say how far two models are apart: of what their attention modules put
out for the same hidden states, of the last hidden states, and of the outputs of their class.
"""

import logging
import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
import transformers
from safetensors import safe_open

transformers.logging.set_verbosity(logging.CRITICAL)
transformers.logging.disable_progress_bar()
warnings.filterwarnings("ignore")
torch.set_num_threads(1)

VERSION = transformers.__version__
ATTENTION = {  # the module that gets hidden states, and the projection that puts out what attention says
    "attention.self": "attention.output.dense", "self_attn": ("o_proj", "dense"), "self_attention": "dense",
    "attention": ("dense", "o_proj"), "attn": "c_proj"}


@dataclass
class Run:
    """What one model said: per input the hidden states and the outputs; per input and layer of attention its input and
    output."""

    hidden: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    attention: list = field(default_factory=list)


def in_double():
    """Norms, softmax and rotary positions of the library go through float32 whatever the model is: from now on not."""
    torch.float32 = torch.float64
    torch.Tensor.float = torch.Tensor.double


def save(directory, kind, architecture, given):
    """A directory as the library writes it. Returns the names and shapes of its tensors."""
    config = transformers.AutoConfig.for_model(kind, **given)
    torch.manual_seed(0)
    model = getattr(transformers, architecture)(config)
    model.to(torch.float64).save_pretrained(directory)
    with safe_open(f"{directory}/model.safetensors", "np") as file:
        return {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}


def load(directory, architecture):
    """The model, the shapes of tensors that its class misses (and would draw at random), and those it does not read."""
    model, said = getattr(transformers, architecture).from_pretrained(
        directory, dtype=torch.float64, attn_implementation="eager", output_loading_info=True)
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = {name: shapes[name] for name in sorted(said["missing_keys"])}
    return model.eval(), missing, sorted(said["unexpected_keys"])


def inputs_of(config, architecture):
    """Two inputs for a model, the second one as long as its positions allow, at most 150 tokens."""
    random = np.random.Generator(np.random.PCG64(5))
    if config["model_type"] == "vit":
        return [_images(random, architecture) for _ in range(2)]
    text = config.get("text_config", config)
    limit = {"bert": 64, "roberta": 64, "gpt2": 64}.get(config["model_type"], 150)
    drawn = [_tokens(random, text, length, config["model_type"]) for length in (11, limit)]
    if config["model_type"] == "gemma3":
        drawn.append(_with_image(random))
    for one in drawn:
        if "MultipleChoice" in architecture or "DoubleHeads" in architecture:
            one.update({name: torch.stack([value, value.flip(-1)], 1) for name, value in one.items()})
        if "DoubleHeads" in architecture:
            one["mc_token_ids"] = torch.tensor([[3, 7]])
    return drawn


def _tokens(random, config, length, kind):
    ids = torch.tensor(random.integers(3, 20 if kind == "gemma3" else 24, (1, length)))
    one = {"input_ids": ids}
    if kind == "bert":
        one["token_type_ids"] = torch.tensor(random.integers(0, 2, (1, length)))
    if kind == "gemma3":
        one["token_type_ids"] = torch.zeros_like(ids)
    return one


def _with_image(random):
    one = _tokens(random, {}, 14, "gemma3")
    one["input_ids"][0, 3:9] = torch.tensor([21, 23, 23, 23, 23, 22])
    one["token_type_ids"] = (one["input_ids"] == 23).long()
    return one | {"pixel_values": torch.tensor(random.standard_normal((1, 3, 8, 8)))}


def _images(random, architecture):
    one = {"pixel_values": torch.tensor(random.standard_normal((2, 3, 8, 8)))}
    if "Masked" in architecture:
        one["bool_masked_pos"] = torch.tensor(random.integers(0, 2, (2, 16)), dtype=torch.bool)
    return one


@torch.no_grad()
def run(model, inputs, given=None):
    """`given` is the run of another model, whose hidden states are put in front of attention, one layer each."""
    result = Run()
    modules = _attention_modules(model)
    for index, one in enumerate(inputs):
        seen = []
        hooks = [hook for layer, (module, projection) in enumerate(modules)
                 for hook in _hooks(module, projection, seen, given.attention[index][layer][0] if given else None)
                 if not given or layer < len(given.attention[index])]
        hooks.append(_body(model).register_forward_hook(lambda *said: result.hidden.append(_last_hidden(said[-1]))))
        try:
            result.outputs.append(_flat(model(**one)))
        finally:
            for hook in hooks:
                hook.remove()
        result.attention.append(seen)
    return result


def _attention_modules(model):
    found = []
    for name, module in model.named_modules():
        for ending, projections in ATTENTION.items():
            if not name.endswith("." + ending) or "vision" in name or not hasattr(module, "forward"):
                continue
            root = name[: -len(ending)]
            for projection in projections if isinstance(projections, tuple) else (projections,):
                at = root + projection if "." in projection else f"{name}.{projection}"
                try:
                    found.append((module, model.get_submodule(at)))
                except AttributeError:
                    pass
    return found


def _hooks(module, projection, seen, hidden):
    def before(_, arguments, named):
        if hidden is not None:
            if arguments:
                arguments = (hidden, *arguments[1:])
            else:
                named = {**named, "hidden_states": hidden}
        seen.append([arguments[0] if arguments else named["hidden_states"], None])
        return arguments, named

    def after(_, __, output):
        if seen and seen[-1][1] is None:
            seen[-1][1] = output.reshape(-1, output.shape[-1])

    return [module.register_forward_pre_hook(before, with_kwargs=True), projection.register_forward_hook(after)]


def _body(model):
    """The model without its head, and of those that see images the part that reads text."""
    return getattr(model.base_model, "language_model", model.base_model)


def _last_hidden(said):
    return (said[0] if isinstance(said, tuple) else said.last_hidden_state).reshape(-1)


def _flat(said):
    """All numbers of an output, but for what is kept for the next token."""
    parts = [value for name, value in said.items()
             if isinstance(value, torch.Tensor) and value.is_floating_point() and name != "past_key_values"]
    return torch.cat([part.reshape(-1) for part in parts])


def distance(one, other):
    """Largest difference relative to the largest number; infinite where shapes or NaN forbid."""
    worst = 0.0
    for a, b in zip(one, other):
        if a.shape != b.shape:
            return float("inf")
        apart = float((a - b).abs().max() / a.abs().max().clamp_min(1e-300))
        worst = max(worst, apart if apart == apart else float("inf"))
    return worst


def distances(a, inputs, ran_a, b):
    """Of attention, hidden states and outputs of model b from those of model a, whose run is known."""
    ran_b, inside = run(b, inputs), run(b, inputs, ran_a)
    attention = distance([out for layers in ran_a.attention for _, out in layers],
                         [out for layers in inside.attention for _, out in layers])
    if [len(layers) for layers in ran_a.attention] != [len(layers) for layers in inside.attention]:
        attention = float("inf")
    return [attention, distance(ran_a.hidden, ran_b.hidden), distance(ran_a.outputs, ran_b.outputs)]
