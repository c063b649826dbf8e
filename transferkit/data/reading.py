"""How image files are read: which values are black and white, how many bands there are, and how they become squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Pixels, ReadAs
from transferkit.recipe import DataSettings

DEEPEST = 65535  # of 16 bits


@dataclass(frozen=True)
class Reading:
    """How files are read; a finished run keeps it, so that new images are read as its own were.

    Attributes:
        fit: How a rectangle becomes a square: squash or crop.
        black: Of values deeper than 8 bits, that which becomes 0.
        white: That which becomes 255.
        clips: Whether values beyond are clipped, as a window asks for; else such a file is refused.
        channels: Bands of an image.
        max_megapixels: Of one image; None: as many as Pillow thinks safe, 89.
    """

    fit: str = "squash"
    black: float = 0
    white: float = DEEPEST
    clips: bool = False
    channels: int = 3
    max_megapixels: float | None = None

    def __str__(self) -> str:
        """What decides the pixels, for keys of caches: the fit alone where all else is as usual."""
        depth = "" if (self.black, self.white) == (0, DEEPEST) else f", {self.black:g} to {self.white:g}"
        return f"{self.fit}{depth}{', clipped' * self.clips}{f', {self.channels} bands' * (self.channels != 3)}"


class Span(TypedDict):
    """The part of a `Reading` that the key `range` decides."""

    black: float
    white: float
    clips: bool


def as_reading(fit: str | Reading) -> Reading:
    """A fit alone means that all else is as usual."""
    return Reading(fit) if isinstance(fit, str) else fit


def reading_of(settings: DataSettings) -> Reading:
    """What a recipe's keys say of files; where they say auto, 16 bits and three bands."""
    known = {name: getattr(settings, name, None) for name in ("fit", "range", "channels", "max_megapixels")}
    channels = known["channels"] if isinstance(known["channels"], int) else 3
    most = known["max_megapixels"]
    return Reading(known["fit"] or "squash", **span(known["range"]), channels=channels, max_megapixels=most)


def read_as(reading: Reading) -> ReadAs:
    """The keys `range` and `channels` as they turned out."""
    bits = (int(reading.white) + 1).bit_length() - 1
    return {
        "range": (reading.black, reading.white) if reading.clips else bits,
        "channels": reading.channels,
    }


def span(asked: Any) -> Span:
    """Black, white and whether values beyond are clipped, of the key `range`: bits, or a window.

    Example:
        >>> span(12)
        {'black': 0, 'white': 4095, 'clips': False}
    """
    if isinstance(asked, Sequence) and not isinstance(asked, str):
        return {"black": asked[0], "white": asked[1], "clips": True}
    return {"black": 0, "white": 2**asked - 1 if isinstance(asked, int) else DEEPEST, "clips": False}


def eight_bits(values: npt.NDArray[Any], reading: Reading) -> Pixels:
    """Deep values as 0 to 255, rounded half up; 65535 becomes 255 by default.

    Raises:
        UnfitPixels: If there are values beyond the range and it does not clip; in words.
    """
    if not reading.clips:
        _require_inside(values, reading)
    span_of_values = reading.white - reading.black
    scaled = (values.astype(np.float64) - reading.black) * (255 / span_of_values)
    levels: Pixels = np.floor(np.clip(scaled, 0, 255) + 0.5).astype(np.uint8)
    return levels


class UnfitPixels(ValueError):
    """Pixels that are not read as they are asked for; the message says why, in words."""


class OtherBands(UnfitPixels):
    """An image has another number of bands than are asked for."""

    def __init__(self, bands: int, expected: int) -> None:
        super().__init__(bands, expected)
        self.bands, self.expected = bands, expected

    def __str__(self) -> str:
        return f"{self.bands} bands, and data.channels is {self.expected}"


def _require_inside(values: npt.NDArray[Any], reading: Reading) -> None:
    darkest, brightest = values.min(), values.max()
    way = "save it with 8 or 16 bits per channel, or name the values of black and white, as in data.range="
    if values.dtype.kind == "f":
        raise UnfitPixels(f"pixels that are no whole numbers; {way}[0,1]")
    if darkest < 0 or brightest > DEEPEST:
        raise UnfitPixels(f"pixels from {darkest:g} to {brightest:g}, beyond 16 bits; {way}[-1000,400]")
    if brightest > reading.white:
        raise UnfitPixels(
            f"values up to {brightest:,}, beyond the {reading.white:,.0f} that are white here (data.range); train with "
            "data.range=16, or with the values of black and white"
        )
