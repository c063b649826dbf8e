"""Uncompressed YCbCr TIFFs, which Pillow before 13 does not read."""

from __future__ import annotations

from typing import IO, Any, cast

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

PHOTOMETRIC_TAG, YCBCR, SUBSAMPLING_TAG = 262, 6, 530  # TIFF 6.0, sections 8 and 21


def is_mistaken_for_rgb(image: TiffImageFile) -> bool:
    """Whether this is an uncompressed YCbCr TIFF, which Pillow before 13 takes for RGB with a fourth byte."""
    is_ycbcr = image.tag_v2.get(PHOTOMETRIC_TAG) == YCBCR and tuple(image.tag_v2.get(SUBSAMPLING_TAG, ())) == (1, 1)
    return is_ycbcr and {_codec(tile) for tile in image.tile} == {("raw", "RGBX")}


def _codec(tile: Any) -> tuple[str, str]:
    """By what a part of an image is decoded, and into which mode."""
    return tile[0], str(tile[3][0])


def uncompressed_ycbcr(image: TiffImageFile) -> Image.Image:
    """The strips of a TIFF, three bytes for each pixel."""
    whole, file = Image.new("YCbCr", image.size), cast(IO[bytes], image.fp)
    tiles: list[Any] = image.tile
    for _, (left, top, right, bottom), offset, _ in tiles:
        file.seek(offset)
        size = right - left, bottom - top
        whole.paste(Image.frombytes("YCbCr", size, file.read(3 * size[0] * size[1])), (left, top))
    return whole
