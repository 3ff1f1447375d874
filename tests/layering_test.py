#!/usr/bin/python3
"""Reads every #include of the project and fails on an arrow that the architecture does not have."""

import re
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Folder -> the folders whose headers it may include.
ARROWS = {
    "symmetry": {"symmetry"},
    "verify": {"verify", "symmetry"},
    "checkpoint": {"checkpoint", "symmetry"},
    "nfn": {"nfn", "symmetry"},
    "tools": {"tools", "symmetry", "verify", "checkpoint", "nfn"},
    "tests": {"tests", "tools", "symmetry", "verify", "checkpoint", "nfn"},
    "bench": {"bench", "tools", "symmetry", "verify", "checkpoint", "nfn"},
}

# The checker shares with the finder what a stored module is and the rule of rounding: these units, whatever includes
# them, and nothing else. No search, no matching, no comparison of what was found.
CHECKER = "verify/checker/"
CHECKER_MAY_REACH = {
    "symmetry": """affine attention_config attention_symmetry attention_weights blocked_transpose centred circuits describe_gauges
        distance_buckets dual errors format_rounding gains gauge_blocks general_linear group head_class matrix_products mla_weights neuron_move
        permutation products random random_gauge rotary run_tasks safe_norm scalar score_terms signed_gains
        stored_attention stored_mla stored_model stored_transformer stream_move svd symmetry_group thin_qr transformer_config
        transformer_group transformer_weights""",
    "verify": """attend block_matrices class_comparison comparison constant_comparison enclosed_parts enclosure
        hashed_random mla_attend mla_core rounding_law storage_error stored_circuit stored_factors stored_scores stored_unit
        transformer_forward verdict witness within_radius""",
    "verify/models": "architecture arithmetic_sums seen_model stored_algebra stream_transport token_witness",
}

# The test kits need RapidCheck; the libraries do not. The kit of a library may build on that of verify.
TEST_KITS = ("verify/testing/", "nfn/testing/")

SYMMETRY_MAY_INCLUDE = re.compile(r"Eigen/|boost/multiprecision/|[a-z_]+$")  # the last: the standard library

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


class Sources:
    """The includes of every source file under a root."""

    def __init__(self, root):
        self.quoted, self.system = {}, {}
        for folder in ARROWS:
            for path in sorted((root / folder).rglob("*.[ch]pp")):
                found = INCLUDE.findall(path.read_text())
                name = path.relative_to(root).as_posix()
                self.quoted[name] = [target for mark, target in found if mark == '"']
                self.system[name] = [target for mark, target in found if mark == "<"]

    def complaints(self):
        return [*self._bad_arrows(), *self._bad_system_includes(), *self._test_kit_in_library(), *self._shared_with_checker()]

    def _bad_arrows(self):
        for name, targets in self.quoted.items():
            allowed = ARROWS[folder(name)]
            yield from (
                f"{name} includes {target}" for target in targets
                if folder(target) not in allowed and not (is_test_kit(name) and target.startswith(TEST_KITS[0])))

    def _bad_system_includes(self):
        for name, targets in self.system.items():
            if folder(name) == "symmetry":
                yield from (f"{name} includes <{target}>" for target in targets if not SYMMETRY_MAY_INCLUDE.match(target))

    def _test_kit_in_library(self):
        for name, targets in self.quoted.items():
            if folder(name) != "tests" and not is_test_kit(name):
                yield from (f"{name} includes {target}" for target in targets if is_test_kit(target))

    def _shared_with_checker(self):
        allowed = {f"{where}/{unit}" for where, units in CHECKER_MAY_REACH.items() for unit in units.split()}
        for start in self.quoted:
            if not start.startswith(CHECKER):
                continue
            for path in self._paths_from(start):
                if not path[-1].startswith(CHECKER) and path[-1].rpartition(".")[0] not in allowed:
                    yield "the checker reaches the finder: " + " -> ".join(path)
                    return

    def _paths_from(self, start):
        """A path to every file that `start` includes, directly or not, with the sources behind the headers."""
        seen, open_paths = {start}, [[start]]
        while open_paths:
            path = open_paths.pop()
            yield path
            targets = list(self.quoted.get(path[-1], []))
            if path[-1].endswith(".hpp"):
                targets.append(path[-1][:-4] + ".cpp")
            for target in targets:
                if target in self.quoted and target not in seen:
                    seen.add(target)
                    open_paths.append(path + [target])


def folder(name):
    return name.split("/")[0]


def is_test_kit(name):
    return name.startswith(TEST_KITS)


class Layering(unittest.TestCase):
    def test_the_project_has_only_the_arrows_of_its_architecture(self):
        sources = Sources(ROOT)
        self.assertTrue(any(name.startswith(CHECKER) for name in sources.quoted))
        self.assertEqual([], sources.complaints())


class MadeUpIncludesAreCaught(unittest.TestCase):
    """The twin: each of these must be complained about, and exactly once."""

    def assert_caught(self, *files):
        with tempfile.TemporaryDirectory() as root:
            for name, text in files:
                path = Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            self.assertEqual(1, len(Sources(Path(root)).complaints()))

    def test_arrow_backwards(self):
        self.assert_caught(("symmetry/group.hpp", '#include "verify/decide.hpp"\n'))

    def test_siblings(self):
        self.assert_caught(("verify/decide.cpp", '#pragma once\n# include "checkpoint/dtype.hpp"\n'))
        self.assert_caught(("checkpoint/dtype.cpp", '#include "nfn/layer.hpp"\n'))

    def test_include_by_relative_path(self):
        self.assert_caught(("symmetry/group.hpp", '#include "permutation.hpp"\n'))

    def test_foreign_library_in_symmetry(self):
        self.assert_caught(("symmetry/group.hpp", "#include <vector>\n#include <nlohmann/json.hpp>\n"))
        self.assert_caught(("symmetry/group.hpp", "#include <Eigen/Core>\n#include <unistd.h>\n"))

    def test_test_kit_in_the_library(self):
        self.assert_caught(("verify/decide.cpp", '#include "verify/testing/laws.hpp"\n'))

        self.assert_caught(("nfn/layer.hpp", '#include "nfn/testing/generators.hpp"\n'))

    def test_test_kit_upward(self):
        self.assert_caught(("verify/testing/laws.hpp", '#include "nfn/layer.hpp"\n'))
        self.assert_caught(("nfn/testing/laws.hpp", '#include "verify/decide.hpp"\n'))

    def test_checker_includes_finder(self):
        self.assert_caught(("verify/checker/certificate.hpp", '#include "verify/matching.hpp"\n'), ("verify/matching.hpp", ""))

    def test_checker_reaches_finder_through_others(self):
        self.assert_caught(
            ("verify/checker/certificate.cpp", '#include "verify/attend.hpp"\n'), ("verify/attend.hpp", ""),
            ("verify/attend.cpp", '#include "symmetry/assignment.hpp"\n'), ("symmetry/assignment.hpp", ""))


if __name__ == "__main__":
    unittest.main()
