"""Photographs turned upright, as their EXIF asks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from transferkit.data.images import Pixels

ORIENTATION_TAG = 0x0112  # EXIF 2.3, table 4
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {  # EXIF 2.3, section 4.6.4: what undoes each, of (C, H, W)
    2: lambda pixels: pixels[:, :, ::-1],
    3: lambda pixels: pixels[:, ::-1, ::-1],
    4: lambda pixels: pixels[:, ::-1],
    5: lambda pixels: pixels.transpose(0, 2, 1),
    6: lambda pixels: pixels[:, ::-1].transpose(0, 2, 1),
    7: lambda pixels: pixels[:, ::-1, ::-1].transpose(0, 2, 1),
    8: lambda pixels: pixels.transpose(0, 2, 1)[:, ::-1],
}


def upright(pixels: Pixels, image: Image.Image) -> Pixels:
    """The pixels (C, H, W) of an image that has been decoded, turned as its orientation asks."""
    orientation = _orientation(image)  # after decoding, in which Pillow turns TIFFs upright by itself
    return np.ascontiguousarray(UPRIGHT[orientation](pixels)) if orientation in UPRIGHT else pixels


def _orientation(image: Image.Image) -> int:
    if image.format == "JPEG" and not {"exif", "xmp"} & image.info.keys():
        return 1  # most small files; parsing nothing takes a tenth of their time
    with contextlib.suppress(Exception):  # damaged EXIF does not make an image unreadable
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    return 1
