#!/usr/bin/python3
"""Bad moments and bad places: faults_test.py ATTNSYM [--rounds N]. Needs NumPy.

Whatever happens while the command runs, OUT is the old one or the complete new one, nothing is left beside it, no
signal but the one that was sent ends it, and nothing is removed or replaced that it has not written. --rounds says how
often what depends on the moment is tried (6; 1000 takes an hour).
"""

import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "acceptance"))

import numpy as np
import safetensors_numpy
from tiny_model import TinyModel

ATTNSYM = ""
ROUNDS = 6
YES, NO, TROUBLE, UNDECIDED = 0, 1, 2, 3


def call(*arguments, **options):
    return subprocess.run([ATTNSYM, *map(str, arguments)], timeout=120, **{"capture_output": True, "text": True, **options})


def contents(path):
    """Every file below, by relative name."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


class Faults(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.random = random.Random(1)
        self.a, self.out = self.root / "A", self.root / "OUT"
        TinyModel().write(self.a)

    def expect(self, status, words, *arguments, **options):
        done = call(*arguments, **options)
        self.assertEqual(done.returncode, status, f"{arguments}\n{done.stdout}\n{done.stderr}")
        self.assertIn(words, done.stderr if status == TROUBLE else done.stdout)
        return done

    def large(self, layers=24, width=128):
        """A model that takes a while."""
        model = self.root / "large"
        if not model.exists():
            TinyModel(width=8, layers=layers).write(model)
            generator = np.random.default_rng(1)
            tensors = safetensors_numpy.read(model / "model.safetensors")
            for name, tensor in list(tensors.stored.items()):
                shape = [width] * len(tensor.shape)
                tensors.store(name, generator.normal(size=shape), "F32")
            safetensors_numpy.write(model / "model.safetensors", tensors)
            config = json.loads((model / "config.json").read_text())
            (model / "config.json").write_text(json.dumps({**config, "hidden_size": width}))
        return model

    def assert_no_remains(self):
        self.assertEqual([], [path.name for path in self.root.iterdir() if path.name.startswith(".attnsym")])

    def start(self, *arguments):
        return subprocess.Popen([ATTNSYM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    # Moments.

    def test_a_signal_leaves_nothing(self):
        model = self.large()
        self.assertEqual(YES, call("act", model, "-o", self.out, "--seed", 1).returncode)
        old = contents(self.out)
        begun = time.monotonic()
        self.assertEqual(YES, call("act", model, "-o", self.root / "new", "--seed", 2).returncode)
        takes, new = time.monotonic() - begun, contents(self.root / "new")
        hits = 0
        for number in range(ROUNDS * 3):
            sent = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[number % 3]
            process = self.start("act", model, "-o", self.out, "--seed", 2, "--force")
            time.sleep(self.random.uniform(0.01, takes))
            process.send_signal(sent)
            _, said = process.communicate(timeout=60)
            self.assertIn(process.returncode, (-sent, YES), said)
            hits += process.returncode == -sent
            self.assertTrue(contents(self.out) in (old, new), sorted(contents(self.out)))
            self.assert_no_remains()
        self.assertGreater(hits, 0)

    def test_killed_it_leaves_the_old_or_the_new(self):
        model = self.large()
        self.assertEqual(YES, call("act", model, "-o", self.out, "--seed", 1).returncode)
        versions = [contents(self.out)]
        begun = time.monotonic()
        self.assertEqual(YES, call("act", model, "-o", self.root / "new", "--seed", 2).returncode)
        takes = time.monotonic() - begun
        versions.append(contents(self.root / "new"))
        for _ in range(ROUNDS * 2):
            process = self.start("act", model, "-o", self.out, "--seed", 2, "--force")
            time.sleep(self.random.uniform(0, 1.2 * takes))
            process.kill()
            process.communicate()
            self.assertTrue(contents(self.out) in versions, sorted(contents(self.out)))

    def test_a_file_that_becomes_shorter_is_named(self):
        model = self.large()
        copy, hits = self.root / "shrinks", 0
        for number in range(ROUNDS):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(model, copy)
            command = (("check", copy, model), ("act", copy, "-o", self.out), ("canonicalize", copy, "-o", self.out))[number % 3]
            process = self.start(*command, "--threads", 2)
            time.sleep(self.random.uniform(0, 0.2))
            os.truncate(copy / "model.safetensors", 5000)
            _, said = process.communicate(timeout=60)
            self.assertIn(process.returncode, (YES, NO, TROUBLE), said)
            if process.returncode == TROUBLE:
                hits += 1
                self.assertIn("shrinks/model.safetensors", said)
                self.assertFalse(self.out.exists())
            shutil.rmtree(self.out, ignore_errors=True)
            self.assert_no_remains()
        self.assertGreater(hits, 0)

    def test_a_file_that_is_written_to_is_named(self):
        model = self.large()
        copy, hits = self.root / "changes", 0
        moved = self.root / "moved"
        self.assertEqual(YES, call("act", model, "-o", moved).returncode)
        for _ in range(ROUNDS):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(model, copy)
            process = self.start("check", copy, moved)
            time.sleep(self.random.uniform(0.03, 0.2))
            with open(copy / "model.safetensors", "r+b") as file:
                file.seek(-100, os.SEEK_END)
                file.write(bytes(100))
            _, said = process.communicate(timeout=60)
            hits += "was written to while it was read" in said
            self.assertIn(process.returncode, (YES, NO, TROUBLE), said)
        self.assertGreater(hits, 0)

    def test_a_full_disk_is_trouble(self):
        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

        for command in ("act", "canonicalize"):
            self.expect(TROUBLE, "OUT", command, self.a, "-o", self.out, preexec_fn=limited)
            self.assertFalse(self.out.exists())
            self.assert_no_remains()

    def test_output_that_nobody_gets_is_trouble(self):
        for arguments in (("check", self.a, self.a), ("check", self.a, self.a, "--json"), ("--help",), ("--version",),
                          ("explain", self.a, "--json")):
            with open("/dev/full", "w") as full:
                done = call(*arguments, capture_output=False, stdout=full, stderr=subprocess.PIPE)
            self.assertEqual(TROUBLE, done.returncode, arguments)
            closed = subprocess.run(["/bin/sh", "-c", '"$@" >&-', "sh", ATTNSYM, *map(str, arguments)], capture_output=True)
            self.assertEqual(TROUBLE, closed.returncode, arguments)

    def test_threads_and_memory_that_cannot_be_had(self):
        def limited():
            resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))

        if call("--version", preexec_fn=limited).returncode != YES:
            self.skipTest("the program itself does not fit, as under a sanitizer")
        for threads in (16, 200):
            done = call("check", self.a, self.a, "--threads", threads, preexec_fn=limited)
            self.assertIn(done.returncode, (YES, TROUBLE), done.stderr)  # and no signal

    def test_many_shards_with_few_descriptors(self):
        tensors = safetensors_numpy.read(self.large(layers=40, width=8) / "model.safetensors")
        model = self.root / "shards"
        model.mkdir()
        shutil.copy(self.root / "large" / "config.json", model)
        places = {}
        for number, name in enumerate(tensors.stored):
            file = f"model-{number:05d}.safetensors"
            one = type(tensors)()
            one.store(name, tensors.numbers(name), "F32")
            safetensors_numpy.write(model / file, one)
            places[name] = file
        (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
        self.assertGreater(len(places), 300)

        def limited():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        self.expect(YES, "", "act", model, "-o", self.out, preexec_fn=limited)
        self.expect(YES, "equivalent", "check", model, self.out, preexec_fn=limited)

    # Places.

    def test_writers_at_once_do_not_meet(self):
        self.assertEqual(YES, call("act", self.a, "-o", self.out).returncode)
        files = sorted(contents(self.out))
        # With equal process ids, where processes may be given ids of their own.
        alone = ["unshare", "--pid", "--fork"]
        if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
            alone = []
        for _ in range(ROUNDS):
            results = []
            threads = [threading.Thread(target=lambda seed=seed: results.append(subprocess.run(
                [*alone, ATTNSYM, "act", self.a, "-o", self.out, "--seed", str(seed), "--force"],
                capture_output=True, text=True, timeout=120))) for seed in (1, 2, 3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertIn(YES, [result.returncode for result in results])
            self.assertTrue(all(result.returncode in (YES, TROUBLE) for result in results))
            self.assertEqual(files, sorted(contents(self.out)))
            self.expect(YES, "equivalent", "check", self.a, self.out)
            self.assert_no_remains()

    def test_force_replaces_only_what_attnsym_wrote(self):
        project = self.root / "project"
        project.mkdir()
        (project / "config.json").write_text("{}")
        (project / "thesis.tex").write_text("years")
        before = contents(project)
        self.expect(TROUBLE, "project", "act", self.a, "-o", project, "--force")
        self.assertEqual(before, contents(project))
        shutil.copytree(self.a, self.out)
        self.expect(TROUBLE, "OUT", "act", self.a, "-o", self.out, "--force")
        shutil.rmtree(self.out)
        self.expect(YES, "", "act", self.a, "-o", self.out)
        self.expect(YES, "", "act", self.a, "-o", self.out, "--force")
        (self.out / "more").mkdir()
        (self.out / "more" / "notes").write_text("mine")
        self.expect(TROUBLE, "more", "act", self.a, "-o", self.out, "--force")
        self.assertEqual("mine", (self.out / "more" / "notes").read_text())

    def test_devices_and_sources_are_not_replaced(self):
        os.mkfifo(self.root / "fifo")
        for option in ("--certificate", "--witness"):
            self.expect(TROUBLE, "fifo", "check", self.a, self.a, option, self.root / "fifo", "--force")
        self.assertTrue(stat.S_ISFIFO((self.root / "fifo").lstat().st_mode))
        self.expect(TROUBLE, "/dev/null", "act", self.a, "-o", self.out, "--certificate", "/dev/null", "--force")
        self.assertTrue(stat.S_ISCHR(os.lstat("/dev/null").st_mode))
        self.assertFalse(self.out.exists())
        config = self.root / "c.json"
        shutil.copy(self.a / "config.json", config)
        before = config.read_bytes()
        self.expect(TROUBLE, "c.json", "act", self.a / "model.safetensors", "--config", config, "-o", config, "--force")
        self.assertEqual(before, config.read_bytes())

    def test_places_are_looked_at_before_the_work(self):
        for place in (self.root / "nowhere" / "file", self.root / ("x" * 300)):
            done = call("check", self.a, self.a, "--certificate", place)
            self.assertEqual((TROUBLE, ""), (done.returncode, done.stdout))
            self.assertEqual(TROUBLE, call("act", self.a, "-o", self.out, "--certificate", place).returncode)
            self.assertFalse(self.out.exists())

    def test_sources_that_may_only_be_read(self):
        (self.a / "folder").mkdir()
        (self.a / "folder" / "file").write_text("text")
        for path in (self.a / "folder", self.a):
            path.chmod(0o555)
        (self.a / "vocab.txt").chmod(0o4444)
        try:
            self.expect(YES, "", "act", self.a, "-o", self.out)
        finally:
            for path in (self.a, self.a / "folder"):
                path.chmod(0o755)
        self.assertTrue(self.out.stat().st_mode & stat.S_IWUSR)
        self.assertFalse((self.out / "vocab.txt").stat().st_mode & stat.S_ISUID)
        self.assertEqual("text", (self.out / "folder" / "file").read_text())

    def test_names_of_any_bytes(self):
        strange = os.fsencode(self.root) + b"/\xff\x1b[31m"
        shutil.copytree(os.fsencode(self.a), strange)
        for arguments in (("check", strange, strange, "--json"), ("act", strange, "-o", strange + b"2", "--json"),
                          ("check", strange, strange + b"2", "--json", "--certificate", strange + b"3"),
                          ("canonicalize", strange, "-o", strange + b"4", "--json"), ("explain", strange, "--json")):
            done = subprocess.run([ATTNSYM, *arguments], capture_output=True)
            self.assertEqual(YES, done.returncode, done.stderr)
            json.loads(done.stdout.decode())
        done = subprocess.run([ATTNSYM, "check", strange + b"9", strange], capture_output=True)
        self.assertEqual(TROUBLE, done.returncode)
        self.assertNotIn(b"\x1b", done.stderr)
        done.stderr.decode()
        longest = self.root / ("y" * 255)
        self.expect(YES, "", "act", self.a, "-o", longest)
        self.expect(YES, "equivalent", "check", self.a, longest)

    def test_what_may_hold_the_old_weights_is_not_carried_along(self):
        for name in ("pytorch_model.bin", "model.onnx", "other.safetensors"):
            (self.a / name).write_bytes(b"old")
        for name in (".git", "onnx"):
            (self.a / name).mkdir()
            (self.a / name / "old").write_text("old")
        os.symlink("loop", self.a / "loop")
        os.symlink("/", self.a / "away")
        os.symlink("vocab.txt", self.a / "link")
        done = self.expect(YES, "", "act", self.a, "-o", self.out)
        for name in ("pytorch_model.bin", "model.onnx", "other.safetensors", ".git", "onnx", "loop", "away"):
            self.assertIn(name, done.stderr)
            self.assertFalse(os.path.lexists(self.out / name), name)
        self.assertEqual((self.a / "vocab.txt").read_bytes(), (self.out / "link").read_bytes())

    # Texts.

    def test_nothing_behind_a_json_text(self):
        config = (self.a / "config.json").read_text()
        for behind in ("\0", "\0{}", "{}", "x"):
            (self.a / "config.json").write_text(config + behind)
            self.expect(TROUBLE, "config.json", "explain", self.a)
        (self.a / "config.json").write_text(config)
        weights = (self.a / "model.safetensors").read_bytes()
        length = int.from_bytes(weights[:8], "little")
        header = weights[8:8 + length].rstrip()
        for behind in (b"\0" * (length - len(header)), b"\0{" + b" " * 6):
            text = header + behind
            (self.a / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + weights[8 + length:])
            self.expect(TROUBLE, "model.safetensors", "explain", self.a)

    def test_witnesses_have_a_length(self):
        other = self.root / "B"
        TinyModel(seed=2).write(other)
        certificate = self.root / "certificate"
        self.expect(NO, "distinct", "check", self.a, other, "--certificate", certificate)
        file = safetensors_numpy.read(certificate)
        name = next(name for name in file.stored if "input" in name)
        long = np.tile(file.numbers(name), (3000, 1))
        file.store(name, long, "F64")
        safetensors_numpy.write(certificate, file)
        begun = time.monotonic()
        self.assertNotEqual(YES, call("certify", certificate, self.a, other).returncode)
        self.assertLess(time.monotonic() - begun, 20)

    def test_texts_of_files_do_not_reach_the_terminal(self):
        index = {"metadata": {}, "weight_map": {"x": "a\x1b[31m\n.safetensors"}}
        (self.a / "model.safetensors").unlink()
        (self.a / "model.safetensors.index.json").write_text(json.dumps(index))
        done = call("explain", self.a)
        self.assertEqual(TROUBLE, done.returncode)
        self.assertNotIn("\x1b", done.stderr)
        self.assertEqual(1, done.stderr.count("\n"))

    def test_temporary_folders_of_layers(self):
        blank = self.root / "a $(touch pwned) b"
        blank.mkdir()
        environment = {**os.environ, "TMPDIR": str(blank)}
        command = "cp {in} {out}"
        done = call("equivariance", "--command", command, env=environment, cwd=self.root)
        self.assertEqual(YES, done.returncode, done.stderr)
        self.assertFalse((self.root / "pwned").exists())
        self.assertEqual([], list(blank.iterdir()))
        self.expect(TROUBLE, "nowhere", "equivariance", "--command", command, env={**os.environ, "TMPDIR": "/nowhere"})
        process = subprocess.Popen([ATTNSYM, "equivariance", "--command", "sleep 60; cp {in} {out}"], env=environment)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        self.assertEqual(-signal.SIGINT, process.wait(timeout=20))
        self.assertEqual([], list(blank.iterdir()))

    def test_a_layer_that_prints_without_end(self):
        begun = time.monotonic()
        done = call("equivariance", "--command", "yes; : {in} {out}", "--timeout", "1")
        self.assertEqual(TROUBLE, done.returncode)
        self.assertLess(time.monotonic() - begun, 20)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    ATTNSYM = os.path.abspath(sys.argv.pop(1))
    if "--rounds" in sys.argv:
        place = sys.argv.index("--rounds")
        ROUNDS = int(sys.argv[place + 1])
        del sys.argv[place:place + 2]
    for number in (signal.SIGINT, signal.SIGHUP):  # what runs in the background was told to ignore them
        signal.signal(number, lambda *_: sys.exit(1))
    unittest.main()
