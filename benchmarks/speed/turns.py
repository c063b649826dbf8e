"""Arms that take turns, and the ratio of two of them with an interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

Arm = Callable[[], object]
Seconds = dict[str, list[float]]


@dataclass(frozen=True)
class Ratio:
    """How many times as long the first arm takes as the second, over pairs of turns.

    Attributes:
        median: Of the pairs' ratios.
        low: Lower end of its 95 % interval, from ranks alone.
        high: Upper end.
        pairs: How many.
    """

    median: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f}, n = {self.pairs})"


def in_turns(arms: Mapping[str, Arm], turns: int, clock: Callable[[], float] = time.process_time) -> Seconds:
    """Seconds of each turn of each arm; every second round goes backwards, and one round before is not counted.

    The clock counts the seconds of this process alone by default: right for one thread on a machine with other work.
    """
    seconds: Seconds = {name: [] for name in arms}
    for turn in range(turns + 1):
        for name in list(arms) if turn % 2 else reversed(arms):
            started = clock()
            arms[name]()
            seconds[name].append(clock() - started)
    return {name: taken[1:] for name, taken in seconds.items()}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """Of turns that were taken side by side.

    Example:
        >>> ratio([2.0, 2.2, 4.0], [1.0, 1.0, 2.0])
        Ratio(median=2.0, low=2.0, high=2.2, pairs=3)
    """
    ratios = np.sort(np.divide(slow, fast))
    rank = max(int(binom.ppf(0.025, len(ratios), 0.5)) - 1, 0)
    low, high = (float(ratios[at]) for at in (rank, len(ratios) - 1 - rank))
    return Ratio(float(np.median(ratios)), low, high, len(ratios))
