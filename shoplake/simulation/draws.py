"""Random numbers for code that draws one at a time: numpy's generator, read in blocks."""

from bisect import bisect
from collections.abc import Sequence

import numpy as np

_BLOCK = 4096


class Draws:
    """Draw from the generator of a seed; equal seeds give equal draws."""

    def __init__(self, *seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._block: list[float] = []

    def uniform(self) -> float:
        """Draw from 0 (inclusive) to 1 (exclusive)."""
        if not self._block:
            self._block = self._generator.random(_BLOCK).tolist()
        return self._block.pop()

    def chance(self, probability: float) -> bool:
        """Say yes with this probability."""
        return self.uniform() < probability

    def between(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return low + int(self.uniform() * (high - low + 1))

    def pick(self, cumulative: Sequence[float]) -> int:
        """Draw an index, given the running sums of the weights."""
        return min(bisect(cumulative, self.uniform() * cumulative[-1]), len(cumulative) - 1)
