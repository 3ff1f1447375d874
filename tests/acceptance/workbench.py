"""Where the claims work: the model, the command, and copies of the model made once and used by several claims."""

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bert_model
from command import Attnsym


@dataclass
class Rewritten:
    """What act or canonicalize left behind."""

    directory: Path
    certificate: Path
    report: dict | None = None


class Workbench:
    def __init__(self, attnsym, model, folder):
        self.attnsym = Attnsym(attnsym)
        self.model = Path(model)
        self.folder = Path(folder)
        self._scratch = self.folder / "scratch"
        self._made = {}
        config = bert_model.load(self.model)
        self.layers, self.heads, self.width = config.layers, config.heads, config.width

    @property
    def has_tokenizer(self):
        return (self.model / "vocab.txt").exists()

    def scratch(self, name):
        """A path that does not outlive the claim."""
        return self._scratch / name

    @contextmanager
    def scratch_cleared(self):
        self._scratch.mkdir(parents=True)
        try:
            yield
        finally:
            shutil.rmtree(self._scratch)

    def acted(self, condition=10, dtype="F32", seed=7, options=()):
        """The model moved by a random group element."""
        options = ("--condition", condition, "--dtype", dtype, "--seed", seed, *options)
        name = "-".join(str(option).strip("-") for option in ("act", *options))
        return self._once(name, lambda out, certificate: self.attnsym.act(
            self.model, out, *options, certificate=certificate))

    def canonical(self, model=None):
        """The canonical form of the model, or of another that lives as long."""
        model = model or self.model
        name = "canonical-" + (model.name if model.parent == self.folder else "model")
        return self._once(name, lambda out, certificate: self.attnsym.canonicalize(
            model, out, certificate=certificate))

    def _once(self, name, make):
        if name not in self._made:
            out, certificate = self.folder / name, self.folder / (name + ".certificate")
            shutil.rmtree(out, ignore_errors=True)
            certificate.unlink(missing_ok=True)
            self._made[name] = Rewritten(out, certificate, make(out, certificate))
        return self._made[name]
