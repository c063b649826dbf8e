"""Shares of images with n and interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.metrics.statistics import Interval, clopper_pearson, wilson
from transferkit.runtime.array_types import Bools

FEWEST_FOR_WILSON = 40  # below, and at 0 or all, the exact interval


@dataclass(frozen=True)
class Proportion:
    """A share of images with its evidence.

    Attributes:
        hits: How many.
        n: Of how many.
        value: hits / n; NaN if n is 0.
        interval: 95 %, Wilson's unless said otherwise; 0 to 1 if n is 0.
    """

    hits: int
    n: int
    value: float
    interval: Interval


def proportion(hits: int, n: int) -> Proportion:
    """This many of n, with Wilson's interval."""
    return Proportion(hits, n, hits / n if n else float("nan"), wilson(hits, n))


def share(members: Bools) -> Proportion:
    """How many are true, with a 95 % interval: Wilson's, or Clopper and Pearson's below 40 and at none or all."""
    count, n = int(np.sum(members)), len(members)
    exact = n < FEWEST_FOR_WILSON or count in (0, n)
    return Proportion(count, n, count / n if n else float("nan"), (clopper_pearson if exact else wilson)(count, n))
