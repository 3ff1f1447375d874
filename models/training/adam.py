"""The Adam optimiser (Kingma and Ba, arXiv 1412.6980) with clipped gradients."""

import numpy as np


class Adam:
    def __init__(self, weights, decay=(0.9, 0.98), eps=1e-8, largest_norm=1.0):
        self._weights = weights
        self._decay, self._eps, self._largest_norm = decay, eps, largest_norm
        self._means = {name: np.zeros_like(weight) for name, weight in weights.items()}
        self._squares = {name: np.zeros_like(weight) for name, weight in weights.items()}
        self._steps = 0

    def step(self, gradients, rate):
        """Changes the weights in place. Gradients longer than largest_norm, all together, are shortened to it."""
        self._steps += 1
        norm = sum(float((gradient**2).sum()) for gradient in gradients.values()) ** 0.5
        shrink = min(1.0, self._largest_norm / norm)
        first, second = self._decay
        for name, weight in self._weights.items():
            gradient, mean, square = shrink * gradients[name], self._means[name], self._squares[name]
            mean += (1 - first) * (gradient - mean)
            square += (1 - second) * (gradient**2 - square)
            unbiased = np.sqrt(square / (1 - second**self._steps))
            weight -= rate / (1 - first**self._steps) * mean / (unbiased + self._eps)
