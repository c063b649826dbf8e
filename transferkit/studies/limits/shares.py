"""Shares of images with their intervals, as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.metrics.proportions import Proportion, share
from transferkit.metrics.statistics import Interval

Bools = npt.NDArray[np.bool_]


def share_of(members: Bools) -> dict[str, Any]:
    """Value, 95 % interval, hits and n of a mask."""
    return as_dict(share(members))


def as_dict(found: Proportion) -> dict[str, Any]:
    """A proportion; its value is None where there are no images."""
    value = found.value if found.n else None
    return {"value": value, "interval": bounds(found.interval), "hits": found.hits, "n": found.n}


def bounds(found: Interval | None) -> list[float] | None:
    """The two ends."""
    return None if found is None else [float(found.low), float(found.high)]
