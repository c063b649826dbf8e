"""Arrays of one's own program in 8 bits: 255 is white, and so is 1 of floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.runtime.errors import TransferkitError

WHITE = 255
EXPECTED = "Expected uint8, whole numbers from 0 to 255, or floats from 0 to 1"


def eight_bit(images: npt.NDArray[Any], where: str = "") -> npt.NDArray[np.uint8]:
    """uint8 of an array of images: whole numbers as they are, floats in [0, 1] times 255 and rounded, True as white.

    Example:
        >>> eight_bit(np.array([0.0, 0.1, 1.0])).tolist(), eight_bit(np.array([0, 26, 255])).tolist()
        ([0, 26, 255], [0, 26, 255])

    Raises:
        TransferkitError: If values lie beyond, or are no numbers; says how to bring them there.
    """
    if images.dtype == np.uint8:
        return images
    subject = f"{where}: images of type {images.dtype}" if where else f"Images of type {images.dtype}"
    white = {"b": 1, "f": 1, "i": WHITE, "u": WHITE}.get(images.dtype.kind)
    if white is None:
        stacked = ". np.stack(images) makes one array of a list of arrays of one size."
        raise TransferkitError(f"{subject}. {EXPECTED}{stacked}")
    low, high = (images.min(), images.max()) if images.size else (0, 0)
    if not (low >= 0 and high <= white):
        raise TransferkitError(
            f"{subject} {_range_in_words(float(low), float(high))}. {EXPECTED}{_way_there(float(low), float(high))}"
        )
    return (images if white == WHITE else np.round(images * np.float32(WHITE))).astype(np.uint8)


def _range_in_words(low: float, high: float) -> str:
    return (
        f"with values from {low:g} to {high:g}" if np.isfinite([low, high]).all() else "with values that are no numbers"
    )


def _way_there(low: float, high: float) -> str:
    if not np.isfinite([low, high]).all():
        return "."
    if low < 0:
        return ": leave Normalize out, since transferkit prepares images itself, as the weights want them."
    return f": divide them by what is white, as in images / {high:g}."
