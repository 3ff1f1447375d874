#!/usr/bin/python3
"""`attnsym nfn train`, `predict` and `eval` on small blocks that NumPy makes: nfn_command_test.py ATTNSYM"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

import numpy as np
import transformers_numpy as transformers
import safetensors_numpy

ATTNSYM = ""
DONE, TROUBLE = 0, 2

SHAPE = transformers.Shape()
COUNT = 24
TRAIN = "nfn train DIR --labels labels.csv --threads 1 --loss mse --channels 4 --batch 10 --epochs 5 --warmup 2 --rate 0.01"
RESUME = "nfn train DIR --labels labels.csv --threads 2 --resume"

# A change of the folder, by name, and what standard error has to say of `train`.
BAD_FOLDERS = [
    ("truncated", r"DIR/03\.safetensors"),
    ("empty_file", r"DIR/03\.safetensors"),
    ("other_width", r"DIR/03\.safetensors: tensor 'block0\.A' has shape \[6, 4\], that of DIR/00\.safetensors \[4, 4\]"),
    ("two_blocks", r"DIR/03\.safetensors: tensor 'block1\.\w+' is not in DIR/00\.safetensors"),
    ("no_hidden_bias", r"DIR/03\.safetensors: tensor 'block0\.bA' is missing; DIR/00\.safetensors has it"),
    ("integers", r"DIR/03\.safetensors: tensor 'block0\.A' has dtype I32"),
    ("not_a_number", r"DIR/03\.safetensors: tensor 'block0\.A' has an entry that is not finite in single precision: number 1"),
    ("too_large", r"DIR/03\.safetensors: tensor 'block0\.A' has an entry that is not finite in single precision: number 1"),
    ("first_without_keys", r"DIR/00\.safetensors: tensor 'block0\.K' is missing"),
    ("first_with_wrong_keys", r"DIR/00\.safetensors: tensor 'block0\.K' has shape \[2, 4, 3\], expected \[2, 4, 2\]"),
    ("first_with_flat_queries", r"DIR/00\.safetensors: tensor 'block0\.Q' has shape \[4, 4\], expected 3 axes"),
    ("first_with_more", r"DIR/00\.safetensors: tensor 'norm\.weight' belongs to no block"),
    ("comma", r"DIR: the name 'a,b\.safetensors' has a comma"),
    ("no_files", r"DIR: has no \.safetensors file"),
    ("no_folder", r"DIR: No such file"),
]

# The table of labels, as lines after the header, and what standard error has to say.
BAD_LABELS = [
    (lambda lines: lines[:-1], r"labels\.csv: has no label for '23\.safetensors'"),
    (lambda lines: [*lines, "24.safetensors,1"], r"labels\.csv, line 26: there is no file '24\.safetensors'"),
    (lambda lines: [*lines, "03.safetensors,1"], r"labels\.csv, line 26: a second label for '03\.safetensors'"),
    (lambda lines: ["00.safetensors,nan", *lines[1:]], r"line 2: the label of '00\.safetensors' is 'nan', expected a finite number"),
    (lambda lines: ["00.safetensors,inf", *lines[1:]], r"'inf', expected a finite number"),
    (lambda lines: ["00.safetensors,1e999", *lines[1:]], r"'1e999', expected a finite number"),
    (lambda lines: ["00.safetensors,1.5x", *lines[1:]], r"'1\.5x', expected a finite number"),
    (lambda lines: ["00.safetensors,", *lines[1:]], r"'', expected a finite number"),
    (lambda lines: ["00.safetensors,1,2", *lines[1:]], r"'1,2', expected a finite number"),
    (lambda lines: ["00.safetensors", *lines[1:]], r"line 2: '00\.safetensors' is not file,label"),
    (lambda lines: ["", *lines], r"line 2: '' is not file,label"),
]

USAGE = [
    ("nfn", "subcommand is required"),
    ("nfn train DIR -o new", "--labels is required"),
    ("nfn train DIR --labels labels.csv", "--output is required"),
    ("nfn train missing --labels labels.csv -o new", "missing: No such file"),
    ("nfn train DIR --labels missing -o new", "missing"),
    (TRAIN + " -o nowhere/new", "nowhere: no such directory"),
    (TRAIN + " -o DIR/new.safetensors", "lies in DIR"),
    (TRAIN + " -o labels.csv --force", "lies in labels.csv"),
    (TRAIN + " -o other --force", "other: is a directory"),
    (TRAIN + " -o MODEL", "MODEL: exists; use --force"),
    (TRAIN + " -o MODEL --resume", "--resume excludes"),
    (TRAIN + " -o new --epochs 0", "--epochs"),
    (TRAIN + " -o new --loss mae", "--loss"),
    (TRAIN + " -o new --per-head -1", "--per-head"),
    (RESUME + " -o MODEL --per-head 2", "--resume excludes|--per-head excludes"),
    ("nfn train DIR --labels labels.csv -o new", r"the label of \d\d\.safetensors is .*, and loss bce needs labels from 0 to 1"),
    (TRAIN.replace("labels.csv", "huge.csv") + " -o new", "epoch 1: loss or parameters are no longer finite"),
    (RESUME + " -o missing", "missing"),
    (RESUME + " -o DIR/00.safetensors", "lies in DIR"),
    ("nfn train DIR --labels shuffled.csv -o MODEL --resume", "MODEL: was trained on other checkpoints or labels"),
    ("nfn predict MODEL", "DIR is required"),
    ("nfn predict missing DIR", "missing"),
    ("nfn predict DIR/00.safetensors DIR", r"DIR/00\.safetensors: is no predictor"),
    ("nfn predict MODEL other", r"other/00\.safetensors: tensor 'block0\.A' has shape \[6, 4\], that of MODEL \[4, 4\]"),
    ("nfn eval MODEL DIR", "--labels is required"),
    ("nfn eval MODEL other --labels labels.csv", r"labels\.csv, line 6: there is no file '04\.safetensors'"),
]


# What the metadata of a model may not say of its training, and what standard error has to say. 24 checkpoints, 2 of 5 epochs.
EDITED_TRAINING = [
    ("rate", [0, -1e-3, 1e-13, 1e4, "1e-3", True], "expected a"),
    ("last_rate", [-1e-5, 1e4, []], "expected a"),
    ("epochs", [0, -1, 1.5, 1000001, "5"], "expected a"),
    ("epochs_done", [-1, 6, 0.5], "expected a whole number from 0 to 5"),
    ("steps", [0, 5, 7, 1e300, -6], "expected .*by 'epochs_done', 'checkpoints' and 'batch'"),
    ("batch", [0, -8, 2.5, 1e9], "expected a whole number from 1 to 1000000"),
    ("warmup", [-1, 0.5, 1e9], "expected a whole number from 0 to 1000000"),
    ("checkpoints", [0, -24, 1e12], "expected a whole number from 1 to 1000000000"),
    ("checkpoints", [25], "and there are 24"),
    ("seed", ["", "-1", "1x", "18446744073709551616", 1], "expected"),
    ("loss", ["mae", 1], "expected"),
    ("data", [1, {}], "expected"),
]


class Folder(unittest.TestCase):
    """Blocks in DIR, a known invariant of theirs in labels.csv."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        self.random = np.random.default_rng(1)
        self.blocks = {f"{number:02}.safetensors": transformers.draw(SHAPE, self.random) for number in range(COUNT)}
        self.labels = {name: np.einsum("hpk,hpk->", block["Q"], block["K"]) for name, block in self.blocks.items()}
        self.fill("DIR", self.blocks)
        transformers.write_labels(self.root / "labels.csv", self.labels)

    def fill(self, folder, blocks):
        (self.root / folder).mkdir()
        for name, block in blocks.items():
            transformers.write(self.root / folder / name, [block])

    def call(self, line):
        return subprocess.run([ATTNSYM, *shlex.split(line)], cwd=self.root, capture_output=True, text=True, timeout=100)

    def answer(self, line):
        done = self.call(line)
        self.assertEqual(DONE, done.returncode, done.stderr)
        self.assertEqual("", done.stderr)
        return done.stdout

    def assert_refused(self, line, pattern):
        done = self.call(line)
        self.assertEqual(TROUBLE, done.returncode, done.stdout)
        self.assertEqual("", done.stdout)
        self.assertRegex(done.stderr, pattern)

    def bytes_of(self, name):
        return (self.root / name).read_bytes()

    def names(self):
        return sorted(path.name for path in self.root.iterdir())

    def predictions(self, model, folder):
        head, *lines = self.answer(f"nfn predict {model} {folder}").splitlines()
        self.assertEqual("file,prediction", head)
        return {name: np.float64(number) for name, number in (line.split(",") for line in lines)}


class Training(Folder):
    def test_the_seed_decides_every_bit_and_threads_none(self):
        for name, line in (("first", TRAIN), ("again", TRAIN), ("threads", TRAIN.replace("--threads 1", "--threads 2")), ("seed", TRAIN + " --seed 2")):
            self.answer(f"{line} -o {name}")
        self.assertEqual(self.bytes_of("first"), self.bytes_of("again"))
        self.assertEqual(self.bytes_of("first"), self.bytes_of("threads"))
        self.assertNotEqual(self.bytes_of("first"), self.bytes_of("seed"))

    def test_a_stop_after_any_epoch_changes_no_bit(self):
        self.answer(f"{TRAIN} -o whole")
        for epoch in range(1, 6):
            with self.subTest(epoch=epoch):
                self.assertRegex(self.answer(f"{TRAIN} -o parts --force --stop-after {epoch}"), rf"{epoch} of 5 epochs")
                self.answer(f"{RESUME} -o parts")
                self.assertEqual(self.bytes_of("whole"), self.bytes_of("parts"))
        self.answer(f"{TRAIN} -o steps --stop-after 1")
        for _ in range(4):
            self.answer(f"{RESUME} -o steps --stop-after 1")
        self.assertEqual(self.bytes_of("whole"), self.bytes_of("steps"))

    def test_a_kill_leaves_a_whole_epoch_to_go_on_from(self):
        line = TRAIN.replace("--epochs 5", "--epochs 100") + " -o"
        self.answer(f"{line} whole")
        running = subprocess.Popen([ATTNSYM, *shlex.split(f"{line} killed")], cwd=self.root, stdout=subprocess.PIPE, text=True)
        for _ in range(10):
            running.stdout.readline()
        running.send_signal(signal.SIGKILL)
        self.assertEqual(-signal.SIGKILL, running.wait())
        running.stdout.close()
        self.assertNotEqual(self.bytes_of("whole"), self.bytes_of("killed"))
        self.answer(f"{RESUME} -o killed")
        self.assertEqual(self.bytes_of("whole"), self.bytes_of("killed"))

    def test_a_resumed_run_refuses_other_weights(self):
        self.answer(f"{TRAIN} -o MODEL --stop-after 1")
        transformers.write(self.root / "DIR/05.safetensors", [transformers.draw(SHAPE, self.random)])
        self.assert_refused(f"{RESUME} -o MODEL", "MODEL: was trained on other checkpoints or labels")

    def test_a_finished_training_has_nothing_left_to_do(self):
        self.answer(f"{TRAIN} -o MODEL")
        before = self.bytes_of("MODEL")
        self.assertRegex(self.answer(f"{RESUME} -o MODEL"), r"\AMODEL: \d+ parameters, 5 of 5 epochs")
        self.assertEqual(before, self.bytes_of("MODEL"))

    def test_every_epoch_tells_its_loss(self):
        lines = self.answer(f"{TRAIN} -o MODEL").splitlines()
        self.assertEqual(6, len(lines))
        for epoch, line in enumerate(lines[:-1], 1):
            self.assertRegex(line, rf"\Aepoch {epoch} of 5: loss \d[\d.e+-]*, rate \d[\d.e+-]*\Z")
        report = json.loads(self.answer(f"{TRAIN} -o JSON --json"))
        self.assertEqual("attnsym.nfn-train/1", report["schema"])
        self.assertEqual([5, 5, COUNT], [report[key] for key in ("epochs", "epochs_done", "checkpoints")])
        self.assertEqual(5, len(report["losses"]))
        self.assertLess(report["losses"][4], report["losses"][0])
        self.assertEqual(["DIR", "JSON", "MODEL", "labels.csv"], self.names())

    def test_the_file_has_the_parameters_and_no_more_once_it_is_trained(self):
        self.answer(f"{TRAIN} -o half --stop-after 2")
        report = json.loads(self.answer(f"{TRAIN} -o MODEL --json"))
        model, half = (safetensors_numpy.read(self.root / name) for name in ("MODEL", "half"))
        self.assertEqual(report["parameters"], sum(tensor.size for tensor in model.stored.values()))
        self.assertEqual(3 * report["parameters"], sum(tensor.size for tensor in half.stored.values()))
        self.assertIn("block0.0.PhiQ", model)

    def test_heads_one_by_one_are_remembered_in_the_file(self):
        line = f"{TRAIN} --per-head 3"
        published, per_head = (json.loads(self.answer(f"{text} -o {name} --json")) for name, text in (("MODEL", TRAIN), ("whole", line)))
        # H1 ... H4 from 4 channels of M, row sums, row norms and 1; G1 and G2 to 4 channels.
        width, channels, features = SHAPE.width, 4, 3
        self.assertEqual(features * (channels * (width ** 2 + 2 * width) + 1) + channels * (features + 1), per_head["parameters"] - published["parameters"])
        self.answer(f"{line} -o parts --stop-after 2")
        self.answer(f"{RESUME} -o parts")
        self.assertEqual(self.bytes_of("whole"), self.bytes_of("parts"))
        # Heads M and -M differ from heads 0 and 0, unless they count by their sum.
        opposite = {name: dict(block, Q=np.stack([block["Q"][0], -block["Q"][0]]), K=np.stack([block["K"][0]] * 2)) for name, block in self.blocks.items()}
        self.fill("opposite", opposite)
        self.fill("blind", {name: dict(block, Q=0 * block["Q"]) for name, block in opposite.items()})
        for model, least, most in (("MODEL", 0, 1e-4), ("whole", 1e-2, np.inf)):
            one, other = self.predictions(model, "opposite"), self.predictions(model, "blind")
            difference = max(abs(one[name] - other[name]) for name in one)
            self.assertTrue(least <= difference <= most, difference)

    def test_files_from_before_there_was_per_head_are_read(self):
        self.answer(f"{TRAIN} -o MODEL")
        file = safetensors_numpy.read(self.root / "MODEL")
        file.metadata["network"] = file.metadata["network"].replace('"head_features":0,', "")
        self.assertNotIn("head_features", file.metadata["network"])
        safetensors_numpy.write(self.root / "OLD", file)
        self.assertEqual(self.predictions("MODEL", "DIR"), self.predictions("OLD", "DIR"))

    def test_cross_entropy_has_predictions_between_zero_and_one(self):
        transformers.write_labels(self.root / "labels.csv", {name: label > 0 for name, label in self.labels.items()})
        self.answer(TRAIN.replace("mse", "bce") + " -o MODEL")
        values = np.array(list(self.predictions("MODEL", "DIR").values()))
        self.assertTrue(((values > 0) & (values < 1)).all())

    def test_a_second_block_embedding_and_classifier_take_part(self):
        def fill(folder, change):
            (self.root / folder).mkdir()
            random = np.random.default_rng(3)
            for name, block in self.blocks.items():
                parts = {"second": transformers.draw(SHAPE, random), "embedding__weight": random.standard_normal((2, 3)),
                         "embedding__bias": random.standard_normal(3), "classifier": random.standard_normal()}
                if change:
                    parts[change] = dict(parts["second"], Q=parts["second"]["K"]) if change == "second" else parts[change] + 1
                transformers.write(self.root / folder / name, [block, parts.pop("second")], "F64", **parts)
        for number, change in enumerate([None, "second", "embedding__weight", "embedding__bias", "classifier"]):
            fill(f"changed{number}", change)
        self.answer(TRAIN.replace("DIR", "changed0") + " -o MODEL")
        values = [tuple(self.predictions("MODEL", f"changed{number}").values()) for number in range(5)]
        self.assertEqual(5, len(set(values)))


class Predicting(Folder):
    def setUp(self):
        super().setUp()
        self.answer(f"{TRAIN} -o MODEL")

    def test_eval_judges_what_predict_prints(self):
        predicted = self.predictions("MODEL", "DIR")
        self.assertEqual(list(self.labels), list(predicted))
        labels, values = np.array(list(self.labels.values())), np.array(list(predicted.values()))
        report = json.loads(self.answer("nfn eval MODEL DIR --labels labels.csv --json"))
        self.assertEqual(["attnsym.nfn-eval/1", COUNT], [report["schema"], report["checkpoints"]])
        self.assertAlmostEqual(tau(labels, values), report["kendall_tau"], places=12)
        self.assertAlmostEqual(((labels - values) ** 2).mean(), report["mean_squared_error"], places=5)
        self.assertAlmostEqual(1 - ((labels - values) ** 2).sum() / ((labels - labels.mean()) ** 2).sum(), report["r_squared"], places=5)
        self.assertRegex(self.answer("nfn eval MODEL DIR --labels labels.csv"), r"Kendall tau +-?0\.\d+\nR2 +-?\d[^\n]*\nmean squared error +\d")

    def test_json_has_the_same_predictions(self):
        report = json.loads(self.answer("nfn predict MODEL DIR --json"))
        self.assertEqual("attnsym.nfn-predict/1", report["schema"])
        for entry, (name, value) in zip(report["predictions"], self.predictions("MODEL", "DIR").items(), strict=True):
            self.assertEqual(name, entry["file"])
            self.assertEqual(np.float32(value), np.float32(entry["prediction"]))

    def test_predictions_do_not_feel_the_symmetries(self):
        moved = {name: transformers.moved(block, self.random) for name, block in self.blocks.items()}
        tokens = self.random.standard_normal((3, SHAPE.width))
        for name, block in self.blocks.items():  # the elements move weights and not what they compute
            np.testing.assert_allclose(transformers.output(block, tokens), transformers.output(moved[name], tokens), atol=1e-9)
            self.assertGreater(abs(block["Q"] - moved[name]["Q"]).max(), 0.1)
        self.fill("moved", moved)
        before, after = self.predictions("MODEL", "DIR"), self.predictions("MODEL", "moved")
        spread = np.std(list(before.values()))
        self.assertGreater(spread, 0.01)
        for name, value in before.items():
            self.assertAlmostEqual(value, after[name], delta=1e-3 * spread)

    def test_other_changes_are_felt(self):
        self.fill("other", {name: dict(block, Q=block["Q"][::-1]) for name, block in self.blocks.items()})
        before, after = self.predictions("MODEL", "DIR"), self.predictions("MODEL", "other")
        self.assertGreater(max(abs(before[name] - after[name]) for name in before), 0.01)

    def test_labels_of_one_value_have_no_order(self):
        transformers.write_labels(self.root / "ones.csv", dict.fromkeys(self.labels, 1))
        self.assertRegex(self.answer("nfn eval MODEL DIR --labels ones.csv"), r"Kendall tau +undefined\nR2 +undefined\n")
        self.assertIsNone(json.loads(self.answer("nfn eval MODEL DIR --labels ones.csv --json"))["kendall_tau"])

    def test_dos_line_ends_are_line_ends(self):
        (self.root / "dos.csv").write_bytes(self.bytes_of("labels.csv").replace(b"\n", b"\r\n"))
        line = "nfn eval MODEL DIR --labels "
        self.assertEqual(self.answer(line + "labels.csv"), self.answer(line + "dos.csv"))


class Refusals(Folder):
    def change(self, number, edit):
        """Stores a changed block under its number."""
        path = self.root / "DIR" / f"{number:02}.safetensors"
        file = safetensors_numpy.read(path)
        edit(file)
        safetensors_numpy.write(path, file)

    def spoil(self, how):
        folder = self.root / "DIR"
        fourth = folder / "03.safetensors"
        entry = lambda value: lambda file: file.store("block0.A", np.where(np.arange(16).reshape(4, 4) == 1, value, 1), "F64")
        edits = {
            "truncated": lambda: os.truncate(fourth, fourth.stat().st_size - 8),
            "empty_file": lambda: os.truncate(fourth, 0),
            "other_width": lambda: transformers.write(fourth, [transformers.draw(transformers.Shape(width=6), self.random)]),
            "two_blocks": lambda: transformers.write(fourth, [self.blocks["03.safetensors"]] * 2),
            "no_hidden_bias": lambda: self.change(3, lambda file: file.stored.pop("block0.bA")),
            "integers": lambda: self.change(3, lambda file: file.store("block0.A", np.ones((4, 4)), "I32")),
            "not_a_number": lambda: self.change(3, entry(np.nan)),
            "too_large": lambda: self.change(3, entry(1e39)),
            "first_without_keys": lambda: self.change(0, lambda file: file.stored.pop("block0.K")),
            "first_with_wrong_keys": lambda: self.change(0, lambda file: file.store("block0.K", np.ones((2, 4, 3)))),
            "first_with_flat_queries": lambda: self.change(0, lambda file: file.store("block0.Q", np.ones((4, 4)))),
            "first_with_more": lambda: self.change(0, lambda file: file.store("norm.weight", np.ones(4), "F32")),
            "comma": lambda: fourth.rename(folder / "a,b.safetensors"),
            "no_files": lambda: [path.unlink() for path in folder.iterdir()],
            "no_folder": lambda: shutil.rmtree(folder),
        }
        edits[how]()

    def test_bad_folders(self):
        shutil.copytree(self.root / "DIR", self.root / "GOOD")
        for how, pattern in BAD_FOLDERS:
            with self.subTest(how=how):
                shutil.rmtree(self.root / "DIR", ignore_errors=True)
                shutil.copytree(self.root / "GOOD", self.root / "DIR")
                self.spoil(how)
                self.assert_refused(f"{TRAIN} -o new", pattern)
                self.assertNotIn("new", self.names())

    def test_bad_labels(self):
        self.answer(f"{TRAIN} -o MODEL")
        header, *lines = (self.root / "labels.csv").read_text().splitlines()
        for edit, pattern in BAD_LABELS:
            with self.subTest(pattern=pattern):
                (self.root / "labels.csv").write_text("\n".join([header, *edit(lines)]) + "\n")
                self.assert_refused(f"{TRAIN} -o new", pattern)
                self.assert_refused("nfn eval MODEL DIR --labels labels.csv", pattern)
        (self.root / "labels.csv").write_text("\n".join(["name,label", *lines]))
        self.assert_refused(f"{TRAIN} -o new", r"labels\.csv, line 1: the first line is not file,label")
        self.assertNotIn("new", self.names())

    def test_calls_that_cannot_work(self):
        self.answer(f"{TRAIN} -o MODEL --stop-after 3")
        other = transformers.Shape(width=6, heads=3)
        self.fill("other", {f"{number:02}.safetensors": transformers.draw(other, self.random) for number in range(4)})
        values = list(self.labels.values())
        transformers.write_labels(self.root / "shuffled.csv", dict(zip(self.labels, values[1:] + values[:1])))
        transformers.write_labels(self.root / "huge.csv", dict.fromkeys(self.labels, 1e30))
        before, names = self.bytes_of("MODEL"), self.names()
        for line, pattern in USAGE:
            with self.subTest(line=line):
                self.assert_refused(line, pattern)
        self.assertEqual([before, names], [self.bytes_of("MODEL"), self.names()])

    def test_broken_models(self):
        self.answer(f"{TRAIN} -o MODEL")
        for edit, pattern in (
                (lambda file: file.stored.pop("last.weight"), "BROKEN: (tensor 'last.weight' is missing|has not as many numbers)"),
                (lambda file: file.store("more", np.ones(1), "F32"), "BROKEN: tensor 'more' is none of its network"),
                (lambda file: file.store("last.weight", np.ones((1, 2)), "F32"), r"BROKEN: tensor 'last.weight' is F32 \[1, 2\], expected F32 \[1, 4\]"),
                (lambda file: file.store("last.bias", [np.nan], "F32"), "BROKEN: tensor 'last.bias' has an entry that is not finite"),
                (lambda file: file.metadata.pop("training"), "BROKEN: __metadata__ has no 'training'"),
                (lambda file: file.metadata.update(schema="attnsym.predictor/0"), "BROKEN: is no predictor"),
                (lambda file: file.metadata.update(network=file.metadata["network"].replace('"channels":4', '"channels":4000')),
                 "BROKEN: has not as many numbers as its network has parameters"),
                (lambda file: file.metadata.update(network=file.metadata["network"].replace('"head_features":0', '"head_features":4000')),
                 "BROKEN: has not as many numbers as its network has parameters"),
                (lambda file: file.metadata.update(network=file.metadata["network"].replace('"head_features":0', '"head_features":0.5')), "'head_features' is .*, expected a whole number"),
                (lambda file: file.metadata.update(network=file.metadata["network"].replace("[2,4,2]", "[2,4,0]")), "BROKEN: tensor 'block0.Q' has shape"),
                (lambda file: file.metadata.update(network=file.metadata["network"].replace('"block0.Q"', '"embedding":[2000000000,2000000000,8],"block0.Q"')),
                 "BROKEN: tensor 'embedding' has shape .*, which is too large"),
                (lambda file: file.metadata.update(training="{"), "BROKEN, training"),
                (lambda file: file.metadata.update(training=file.metadata["training"].replace('"mse"', '"mae"')), "'loss' is .*, expected bce or mse"),
                (lambda file: file.metadata.update(training=file.metadata["training"].replace('"epochs_done":5', '"epochs_done":6')), "'epochs_done'")):
            with self.subTest(pattern=pattern):
                file = safetensors_numpy.read(self.root / "MODEL")
                edit(file)
                safetensors_numpy.write(self.root / "BROKEN", file)
                self.assert_refused("nfn predict BROKEN DIR", pattern)
        (self.root / "BROKEN").write_bytes(self.bytes_of("MODEL")[:-4])
        self.assert_refused("nfn predict BROKEN DIR", "BROKEN")


    def test_models_whose_training_was_edited(self):
        """A resumed run would otherwise be another training, or none that ends."""
        self.answer(f"{TRAIN} -o MODEL --stop-after 2")
        before = safetensors_numpy.read(self.root / "MODEL")
        for key, values, pattern in EDITED_TRAINING:
            for value in values:
                with self.subTest(key=key, value=value):
                    file = safetensors_numpy.read(self.root / "MODEL")
                    training = json.loads(before.metadata["training"])
                    self.assertIn(key, training)
                    training[key] = value
                    file.metadata["training"] = json.dumps(training)
                    safetensors_numpy.write(self.root / "EDITED", file)
                    edited = self.bytes_of("EDITED")
                    self.assert_refused(f"{RESUME} -o EDITED", rf"EDITED, training: .*'{key}' is .*{pattern}")
                    self.assertEqual(edited, self.bytes_of("EDITED"))
        for key in json.loads(before.metadata["training"]):
            with self.subTest(missing=key):
                file = safetensors_numpy.read(self.root / "MODEL")
                training = json.loads(before.metadata["training"])
                del training[key]
                file.metadata["training"] = json.dumps(training)
                safetensors_numpy.write(self.root / "EDITED", file)
                self.assert_refused(f"{RESUME} -o EDITED", rf"EDITED, training: '{key}' is missing")

    def test_a_mean_of_squares_is_not_negative(self):
        self.answer(f"{TRAIN} -o MODEL --stop-after 2")
        file = safetensors_numpy.read(self.root / "MODEL")
        file.store("adam.mean_square.last.bias", [-1e-9], "F32")
        safetensors_numpy.write(self.root / "EDITED", file)
        self.assert_refused(f"{RESUME} -o EDITED", "EDITED: tensor 'adam.mean_square.last.bias' has a negative entry")


def tau(a, b):
    """Kendall's tau of lists without ties, by counting pairs."""
    signs = np.sign(np.subtract.outer(a, a)) * np.sign(np.subtract.outer(b, b))
    return signs.sum() / (len(a) * (len(a) - 1))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    ATTNSYM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
