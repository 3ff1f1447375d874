"""The command under test. Every option, exit status and file format that the claims rely on is spelled here only."""

import json
import subprocess
from dataclasses import dataclass

import safetensors_numpy
from report import require

EXIT_OF_VERDICT = {"identical": 0, "equivalent": 0, "distinct": 1, "undecided": 3}
ACCEPTED, REJECTED, TROUBLE = 0, 1, 2
HEAD_BEFORE = "from_group"  # in the report of canonicalize: the head's place in IN; one reader per group in BERT
PATIENCE = 600  # seconds for one call


@dataclass
class Attnsym:
    binary: str

    def check(self, a, b, certificate=None, witness=None):
        """The JSON answer, once its exit status has been seen to agree with its verdict."""
        files = [*_option("--certificate", certificate), *_option("--witness", witness)]
        done = self._call("check", a, b, "--json", *files)
        answer = _json(done, "attnsym.check/1")
        expected = EXIT_OF_VERDICT.get(answer["verdict"])
        require(done.returncode == expected, f"verdict {answer['verdict']} with exit status {done.returncode}")
        return answer

    def explanation(self, a, b):
        """Of every layer that differs: what check --explain says."""
        return _json(self._call("check", a, b, "--explain", "--json"), "attnsym.check/1")["explanation"]

    def model_explanation(self, a, b):
        """The same of whole models: slips of all of it, layers of attention, other parts."""
        return self.check_models(a, b, "--explain")["explanation"]

    def check_text(self, a, b):
        return self._call("check", a, b).stdout

    def check_models(self, a, b, *options):
        """The JSON answer about whole models, its exit status seen likewise."""
        done = self._call("check", a, b, "--scope", "model", "--json", *options)
        answer = _json(done, "attnsym.check/1")
        require(done.returncode == EXIT_OF_VERDICT.get(answer["verdict"]),
                f"verdict {answer['verdict']} with exit status {done.returncode}")
        return answer

    def refusal(self, *arguments):
        """What is said on standard error by a call that has to be refused."""
        done = self._call(*arguments)
        require(done.returncode == TROUBLE, f"ended with {done.returncode}: {_last_line(done.stderr)}")
        return done.stderr

    def rewrite_model(self, command, model, out, *options):
        """act or canonicalize of the whole model."""
        self._must(command, model, "-o", out, "--scope", "model", *options)

    def certify(self, certificate, a, b):
        """The exit status alone."""
        return self._call("certify", certificate, a, b).returncode

    def act(self, model, out, *options, certificate=None):
        self._must("act", model, "-o", out, *options, *_option("--certificate", certificate))

    def canonicalize(self, model, out, certificate=None):
        done = self._must("canonicalize", model, "-o", out, "--json", *_option("--certificate", certificate))
        return _json(done, "attnsym.canonicalize/1")

    def start_canonicalize_over(self, model, out):
        """Returns at once with the running process."""
        arguments = self._arguments("canonicalize", model, "-o", out, "--force")
        return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _arguments(self, *arguments):
        return [self.binary, *map(str, arguments)]

    def _call(self, *arguments):
        return subprocess.run(self._arguments(*arguments), capture_output=True, text=True, timeout=PATIENCE)

    def _must(self, *arguments):
        done = self._call(*arguments)
        require(done.returncode == 0, f"{arguments[0]} ended with {done.returncode}: {_last_line(done.stderr)}")
        return done


def head_images(certificate, layers):
    """Per layer, the head of B that each head of A became."""
    tensors = safetensors_numpy.read(certificate)
    return [tensors.stored[f"layers.{layer}.head_image"].ravel().tolist() for layer in range(layers)]


@dataclass
class Witness:
    layer: int
    gap: float
    noise: float
    input: object
    output_a: object
    output_b: object


def read_witness(path):
    tensors = safetensors_numpy.read(path)
    facts = tensors.metadata
    rows = [tensors.numbers(name) for name in ("input", "output_a", "output_b")]
    return Witness(int(facts["layer"]), float(facts["gap"]), float(facts["noise"]), *rows)


def _option(name, value):
    return [] if value is None else [name, value]


def _json(done, schema):
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        require(False, f"exit status {done.returncode}, no JSON object on stdout: {_last_line(done.stderr)}")
    require(answer.get("schema") == schema, f"schema is {answer.get('schema')}, expected {schema}")
    return answer


def _last_line(text):
    return (text.strip().splitlines() or ["(nothing on stderr)"])[-1]
