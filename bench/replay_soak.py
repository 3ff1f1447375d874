#!/usr/bin/python3
"""Replays the witnesses that bench/soak wrote, with NumPy and nothing of this project: replay_soak.py FILE

Every record holds two modules, the separating input and the gap that was claimed. Exit status 1 if one is not so.
"""

import sys

import numpy as np


class Records:
    def __init__(self, path):
        self.numbers, self.place = np.fromfile(path, "<f8"), 0

    def __iter__(self):
        while self.place < len(self.numbers):
            yield self.module(), self.module(), self.matrix(), self.take(1)[0]

    def take(self, count):
        self.place += count
        return self.numbers[self.place - count:self.place]

    def matrix(self):
        rows, cols = map(int, self.take(2))
        return self.take(rows * cols).reshape(cols, rows).T

    def module(self):
        _, heads, groups, _, _, causal, scale = self.take(7)
        parts = []
        for _ in range(int(groups)):
            shared = [self.matrix() for _ in range(4)]
            parts += [(shared, [self.matrix() for _ in range(3)]) for _ in range(int(heads / groups))]
        return parts, self.matrix(), causal, scale


def attend(module, x):
    parts, output_bias, causal, scale = module
    out = np.zeros_like(x) + output_bias
    for (key, value, key_bias, value_bias), (query, output, query_bias) in parts:
        logits = scale * (x @ query + query_bias) @ (x @ key + key_bias).T
        if causal:
            logits = np.where(np.tri(len(x), dtype=bool), logits, -np.inf)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        out += weights @ (x @ value + value_bias) @ output
    return out


def main():
    confirmed = refuted = 0
    for a, b, x, claimed in Records(sys.argv[1]):
        gap = np.linalg.norm(attend(a, x) - attend(b, x))
        good = len(x) >= 3 and abs(gap - claimed) <= 1e-6 * claimed
        confirmed += good
        refuted += not good
        if not good:
            print(f"claimed {claimed}, found {gap}")
    print(f"{confirmed} confirmed, {refuted} refuted")
    return 1 if refuted or not confirmed else 0


if __name__ == "__main__":
    sys.exit(main())
