"""Colour JPEGs by simplejpeg where it is installed (the extra `fast`): the pixels of Pillow's decoder, sooner.

Both are libjpeg-turbo; simplejpeg leaves out Pillow's copies. Whatever it does not take, damaged files above all, is
left to Pillow, which says what is wrong.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from PIL import Image

from transferkit.data.images import Pixels

FRACTIONS = (8, 4, 2)  # 1/8, 1/4, 1/2; of the others libjpeg's 5/8, say, is up to 5 levels off


def decoded(image: Image.Image, data: bytes, size: int) -> Pixels | None:
    """(H, W, 3) of a colour JPEG, at the smallest fraction of its size that is no smaller than the square.

    Args:
        image: As opened by Pillow, not loaded.
        data: The file.
        size: Side of the square in px.

    Returns:
        None where Pillow has to decode.
    """
    if image.format != "JPEG" or image.mode != "RGB" or (decoder := _simplejpeg()) is None:
        return None
    fraction = fraction_for(image.size, size)
    least = {"min_height": -(-image.height // fraction), "min_width": -(-image.width // fraction)}
    try:
        pixels: Pixels = decoder.decode_jpeg(data, "RGB", **least if fraction > 1 else {})
    except (ValueError, RuntimeError):
        return None
    return pixels


def fraction_for(shape: tuple[int, int], size: int) -> int:
    """The denominator of the fraction at which a JPEG is decoded, chosen as Pillow's `draft` chooses it.

    Example:
        >>> fraction_for((500, 375), 224), fraction_for((500, 375), 64)
        (1, 4)
    """
    return next((fraction for fraction in FRACTIONS if min(shape) // size >= fraction), 1)


@cache
def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg
