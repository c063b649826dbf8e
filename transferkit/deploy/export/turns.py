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
    """(rounds,) seconds of each form for one batch; the forms take turns.

    A turn begins with a pass that is not timed: it brings the form's weights back into the processor's caches, and
    meanwhile the threads of the form before stop waiting for more.
    """
    batch = np.ascontiguousarray(images)
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, ask in forms.items():
            ask(batch)
            started = time.perf_counter()
            ask(batch)
            taken[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in taken.items()}
