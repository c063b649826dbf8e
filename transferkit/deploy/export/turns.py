"""How fast several forms of a model are, timed in turns, so that whatever else the machine does meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Pixels

ROUNDS = 7

Ask = Callable[[Pixels], Any]


def images_per_second(forms: Mapping[str, Ask], images: Pixels, rounds: int = ROUNDS) -> dict[str, float]:
    """Images (N, 3, H, W) per second of each form, in its median round."""
    seconds = seconds_of(forms, images, rounds)
    return {name: float(len(images) / np.median(values)) for name, values in seconds.items()}


def seconds_of(forms: Mapping[str, Ask], images: Pixels, rounds: int = ROUNDS) -> dict[str, npt.NDArray[np.float64]]:
    """(rounds,) seconds of each form for one batch, without its first pass, which pays for what is paid once."""
    batch = np.ascontiguousarray(images)
    for ask in forms.values():
        ask(batch)
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, ask in forms.items():
            started = time.perf_counter()
            ask(batch)
            taken[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in taken.items()}
