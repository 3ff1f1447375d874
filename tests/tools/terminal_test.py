#!/usr/bin/python3
"""Progress is shown on a terminal, and changes nothing else: terminal_test.py ATTNSYM. Needs NumPy."""

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "acceptance"))

import family_fixtures

ATTNSYM = ""
CALLS = [
    "check A A", "check A B", "check A C", "check A C --explain", "check A B --exact --seed 1",
    "check A A --scope model", "check A B --scope model", "check A C --scope model", "check A C --scope model --explain",
    "check A D --scope model", "check A D --scope model --explain", "check A B --scope model --certificate cert",
    "certify cert A B", "check A B --certificate cert", "certify cert A B",
    "act A -o OUT", "act A -o OUT --scope model", "act A -o OUT --verify", "act A -o OUT --scope model --verify",
    "canonicalize A -o OUT", "canonicalize A -o OUT --scope model", "canonicalize A -o OUT --verify", "explain A",
]


def on_terminal(call):
    """The finished call, whose standard error was a terminal, and what that saw."""
    ours, theirs = pty.openpty()
    seen = []

    def read():
        while True:
            try:
                some = os.read(ours, 4096)
            except OSError:  # the other end is closed
                return
            seen.append(some)

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(call, stdout=subprocess.PIPE, stderr=theirs, text=True, timeout=120)
    os.close(theirs)
    reader.join()
    os.close(ours)
    return done, b"".join(seen).decode()


class Terminal(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        family_fixtures.make("gpt2", Path("A"), "F32", 1)
        family_fixtures.make("gpt2", Path("D"), "F32", 2)
        for out, *options in (("B", "--seed", "3"), ("C", "--scope", "model", "--seed", "3")):
            subprocess.run([ATTNSYM, "act", "A", "-o", out, *options], check=True, capture_output=True)
        self.edit("C")

    @staticmethod
    def edit(model):
        path = Path(model) / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-7] ^= 0x20
        path.write_bytes(data)

    def test_answers_as_without_one(self):
        steps = 0
        for text in CALLS:
            call = [ATTNSYM, *text.split()]
            for left in ("cert", "OUT"):
                if "certify" not in text:
                    shutil.rmtree(left) if Path(left).is_dir() else Path(left).unlink(missing_ok=True)
            plain = subprocess.run(call, capture_output=True, text=True, timeout=120)
            self.assertLess(plain.returncode, 4, text)
            again = [*call, "--force"] if "cert " not in text and ("OUT" in text or text.endswith("cert")) else call
            shown, seen = on_terminal(again)
            self.assertEqual((plain.returncode, plain.stdout), (shown.returncode, shown.stdout), f"{text}\n{seen}")
            for done, total in re.findall(r"(\d+)/(\d+)", seen):
                self.assertLessEqual(int(done), int(total), text)
                steps += 1
        self.assertGreater(steps, 100)


if __name__ == "__main__":
    ATTNSYM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
