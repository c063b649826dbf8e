"""Images of any number of bands, in files that Pillow does not know: arrays (.npy) and multi-band TIFF."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Pixels
from transferkit.data.reading import OtherBands, Reading, UnfitPixels, eight_bits
from transferkit.data.resizing import by_pillow
from transferkit.runtime.optional_libraries import tifffile

MOST_BANDS = 512
TIFF = (".tif", ".tiff")


def are_bands(source: Any, channels: int = 3) -> TypeGuard[str | Path]:
    """Whether a file is read here: every array, and a TIFF of which other bands than red, green and blue are wanted."""
    if not isinstance(source, (str, Path)):
        return False
    ending = os.path.splitext(source)[1].lower()
    return ending == ".npy" or (ending in TIFF and channels not in (1, 3))


def square(path: str | Path, size: int, reading: Reading) -> Pixels:
    """(channels, size, size) uint8; grey is repeated where three bands are asked for.

    Raises:
        UnfitPixels: If the file has another number of bands, or values beyond the range; in words.
    """
    values = values_of(path)  # (H, W, C)
    if values.shape[2] == 1 and reading.channels == 3:
        values = values.repeat(3, axis=2)
    if values.shape[2] != reading.channels:
        raise OtherBands(values.shape[2], reading.channels)
    levels = values if values.dtype == np.uint8 and not reading.clips else eight_bits(values, reading)
    bands = (np.ascontiguousarray(levels[..., band]) for band in range(levels.shape[2]))
    return np.concatenate([by_pillow(band, size, reading.fit) for band in bands])


def shape_of(path: str | Path) -> tuple[int, int, int]:
    """Height, width and bands."""
    height, width, bands = _array(path, mapped=True).shape
    return height, width, bands


def values_of(path: str | Path) -> npt.NDArray[Any]:
    """(H, W, C), as they stand in the file."""
    return _array(path, mapped=False)


def _array(path: str | Path, *, mapped: bool) -> npt.NDArray[Any]:
    """(H, W, C) of a file; nothing in it is executed.

    Raises:
        UnfitPixels: If it is no image; in words.
    """
    is_tiff = os.path.splitext(path)[1].lower() in TIFF
    array: npt.NDArray[Any] = (
        tifffile().imread(path) if is_tiff else np.load(path, "r" if mapped else None, allow_pickle=False)
    )
    values = array[..., None] if array.ndim == 2 else array
    if values.ndim != 3 or values.dtype.kind not in "uif" or not values.size:
        raise UnfitPixels(f"an array of {array.dtype} {array.shape}, not of numbers (H, W) or (H, W, bands)")
    if is_tiff and values.shape[0] < min(values.shape[1:]):
        values = values.transpose(1, 2, 0)  # bands stored one after the other: (C, H, W) -> (H, W, C)
    if values.shape[2] > MOST_BANDS:
        raise UnfitPixels(f"an array {array.shape} with {values.shape[2]} bands; expected (H, W, bands), bands last")
    return values
