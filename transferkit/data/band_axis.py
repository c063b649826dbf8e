"""Which axis of an array of images holds the bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

PICTURES = (1, 3)  # bands of grey and of colour


def band_axis(shape: tuple[int, ...]) -> int | None:
    """1 of (N, bands, H, W), 3 of (N, H, W, bands); None where there are not fewer bands than pixels along both sides.

    Example:
        >>> band_axis((8, 32, 32, 5)), band_axis((8, 5, 32, 32)), band_axis((8, 28, 28, 28))
        (3, 1, None)
    """
    if len(shape) != 4:
        return None
    for axis in (1, 3):
        if shape[axis] in PICTURES:
            return axis
    axis = 1 if shape[1] < shape[3] else 3
    others = {1, 2, 3} - {axis}
    return axis if shape[axis] < min(shape[other] for other in others) else None


def bands_first(images: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """(N, bands, H, W) of images whose bands lie along an axis."""
    return np.ascontiguousarray(np.moveaxis(images, axis, 1))
