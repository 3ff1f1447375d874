#!/usr/bin/python3
"""What `attnsym equivariance` says of layers in NumPy, right and wrong: equivariance_test.py ATTNSYM"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

ATTNSYM = ""
LAYERS = Path(__file__).resolve().parent / "layers_numpy.py"
CLIENT = LAYERS.with_name("layers_client.py")
SERVED = ""  # the command that asks a server of LAYERS

COMMUTES, BREAKS, TROUBLE, UNDECIDED = 0, 1, 2, 3
ALL_BIASES = "--group attention --biases query,key,value,output"

# The layer, options, and the generators that it breaks.
BROKEN = [
    ("relu_on_queries", "", ["QK gauge"]),
    ("bias_on_outputs", "", ["VO gauge"]),
    ("tiny_constant_on_keys", "", ["QK gauge"]),
    ("one_head_weighs_more", "", ["head permutation"]),
    ("wrong_axis_of_values", "", ["P_D"]),
    ("wrong_axis_of_values", "--residual", []),
    ("positions_on_hidden_units", "", ["P_DA"]),
    ("missing_transpose", "", ["QK gauge"]),
    ("values_added_to_queries", "", ["QK gauge", "VO gauge"]),
    ("not_a_number_at_zero", "", ["QK gauge"]),
    ("invariants_of_entries", "--invariant", ["QK gauge"]),
    ("attention_without_key_bias", ALL_BIASES, ["key bias translation"]),
    ("attention_without_output_bias", ALL_BIASES, ["value bias translation"]),
]

RIGHT = [
    ("right", ""),
    ("right", "--channels 2 --width 3 --heads 3 --key-width 3 --value-width 1 --hidden-width 1"),
    ("right", "--dtype F32"),
    ("right", "--residual"),
    ("single", ""),
    ("single", "--dtype F32 --draws 200"),
    ("half", "--dtype F32"),
    ("invariants", "--invariant --draws 100"),
    ("invariants", "--invariant --channels 3"),
    ("attention", ALL_BIASES),
    ("attention", ALL_BIASES + " --heads 4 --kv-groups 2"),
]

# What standard error has to say.
TROUBLES = [
    ("not_a_number", "", r"'A' is not finite: entry 0 of checkpoint 1 is -?nan"),
    ("missing_tensor", "", r"no tensor 'bA'"),
    ("another_tensor", "", r"'C' is not among the weights"),
    ("wrong_shape", "", r"'B' has shape \[\d+, 1, 4, 3\], expected \[\d+, 2, 3, 4\]"),
    ("integers", "", r"'A' has dtype I32"),
    ("random", "", r"'A' differs between two checkpoints with equal weights"),
    ("no_answer", "", r"status 1.*RuntimeError: out of luck"),
    ("slow", "--timeout 0.5", r"more than 0\.5 seconds"),
    ("right", "--only P_Q", "generators of this group are: head permutation, QK gauge"),
]


def setUpModule():
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    path = os.path.join(folder.name, "layers")
    server = subprocess.Popen(["/usr/bin/python3", LAYERS, "--serve", path], stdout=subprocess.PIPE, text=True)
    unittest.addModuleCleanup(server.communicate)
    unittest.addModuleCleanup(server.kill)
    server.stdout.readline()
    global SERVED
    SERVED = f"/usr/bin/python3 -S -E {shlex.quote(str(CLIENT))} {path}"


def call(layer, options="", command=None):
    command = command or f"/usr/bin/python3 {shlex.quote(str(LAYERS))} {layer} {{in}} {{out}}"
    return subprocess.run([ATTNSYM, "equivariance", "--command", command, *shlex.split(options)],
                          capture_output=True, text=True, timeout=300)


def answer(layer, options=""):
    done = call(layer, options + " --json", f"{SERVED} {layer} {{in}} {{out}}")
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def broken(report):
    return [generator["name"] for generator in report["generators"] if generator["verdict"] == "breaks"]


class Equivariance(unittest.TestCase):
    def test_broken_layers_are_attributed(self):
        for layer, options, expected in BROKEN:
            with self.subTest(layer=layer, options=options):
                status, report = answer(layer, options)
                self.assertEqual(BREAKS if expected else COMMUTES, status, report)
                self.assertEqual(expected, broken(report))

    def test_right_layers_raise_no_alarm(self):
        for layer, options in RIGHT:
            for seed in (1, 2, 3):
                with self.subTest(layer=layer, options=options, seed=seed):
                    status, report = answer(layer, f"{options} --seed {seed}")
                    self.assertEqual(COMMUTES, status, report)

    def test_trouble_is_told(self):
        for layer, options, pattern in TROUBLES:
            with self.subTest(layer=layer):
                done = call(layer, options)
                self.assertEqual(TROUBLE, done.returncode, done.stdout)
                self.assertEqual("", done.stdout)
                self.assertRegex(" ".join(done.stderr.splitlines()), pattern)

    def test_counterexamples_are_small(self):
        for layer, weights in (("relu_on_queries", 1), ("bias_on_outputs", 0), ("one_head_weighs_more", 1), ("wrong_axis_of_values", 2)):
            with self.subTest(layer=layer):
                found = [g["counterexample"] for g in answer(layer)[1]["generators"] if "counterexample" in g]
                self.assertEqual([True], [example["smallest"] for example in found])
                self.assertEqual(weights, len(found[0]["weights"]), found)

    def test_a_failure_replays(self):
        _, report = answer("values_added_to_queries", "--seed 5")
        first = report["generators"][2]
        self.assertEqual("VO gauge", first["name"])
        line = shlex.split(first["counterexample"]["replay"])
        again = subprocess.run([ATTNSYM, *line[1:], "--json"], capture_output=True, text=True, timeout=300)
        self.assertEqual(BREAKS, again.returncode, again.stderr)
        self.assertEqual([first], json.loads(again.stdout)["generators"])

    def test_errors_are_told_tensor_by_tensor(self):
        outputs = answer("values_added_to_queries")[1]["generators"][1]["outputs"]
        self.assertEqual(["Q", "K", "V", "O", "A", "B", "bA", "bB"], [output["tensor"] for output in outputs])
        self.assertEqual(["Q"], [output["tensor"] for output in outputs if output["error"] > output["allowed"]])

    def test_single_precision_inside_a_file_of_doubles_is_undecided(self):
        status, report = answer("single_inside")
        self.assertEqual(UNDECIDED, status, report)
        self.assertRegex(report["summary"], "let it return F32")

    def test_a_constant_shows_nothing(self):
        status, report = answer("constant", "--invariant")
        self.assertEqual(UNDECIDED, status)
        self.assertRegex(report["summary"], "same for all weights")

    def test_the_text_names_what_breaks(self):
        done = call("relu_on_queries")
        self.assertRegex(done.stdout, r"\Abreaks: QK gauge\n")
        self.assertRegex(done.stdout, r"QK gauge +20  breaks +Q 0?\.?\d")
        self.assertRegex(done.stdout, r"replay: attnsym equivariance --command ")
        self.assertRegex(done.stdout, r"P_DA +20  commutes")

    def test_the_command_is_shell(self):
        self.assertEqual(COMMUTES, call("", command="cat < {in} | cat > {out} && echo noise").returncode)
        self.assertEqual(TROUBLE, call("", command="cp {in} out").returncode)
        self.assertRegex(call("", command="true {in} {out}").stderr, "wrote no {out}; it printed nothing")
        self.assertRegex(call("", command="echo {in} > {out}").stderr, "no sound file")

    def test_a_timeout_ends_all_that_was_started(self):
        begin = time.monotonic()
        done = call("", "--timeout 0.3", command="(sleep 60; echo) | cat > {out}; : {in}")
        self.assertEqual(TROUBLE, done.returncode)
        self.assertLess(time.monotonic() - begin, 20)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    ATTNSYM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
