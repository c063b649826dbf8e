"""What of the pixels a person would not expect: values that need fewer bits than their files have, and more bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from transferkit.data.decoding import PixelKind, kind_of
from transferkit.data.file_facts import Depth, DroppedBands, FileFacts
from transferkit.data.reading import DEEPEST, Reading, reading_of, span
from transferkit.recipe.data import EncodedData
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted

LOOKED_AT = 100  # files, evenly spread
BITS = (8, 10, 12, 14, 16)


def seen_reading(
    paths: Sequence[Path | str | IO[bytes]], settings: EncodedData
) -> tuple[Reading, list[str], FileFacts]:
    """How the files are read, from the keys and, where these say auto, from some of the files; notes and facts of it.

    Deep values go from 0 to the highest that fits into 8, 10, 12, 14 or 16 bits, whichever the brightest value needs:
    read as 16 bits, images of a 12-bit sensor come out nearly black.

    Raises:
        TransferkitError: If files have different numbers of bands.
    """
    chosen = [paths[at] for at in np.unique(np.linspace(0, len(paths) - 1, min(len(paths), LOOKED_AT)).astype(int))]
    kinds = [kind for path in chosen if (kind := kind_of(path, settings.max_megapixels))]
    reading = reading_of(settings)
    if settings.channels == "auto":
        reading = replace(reading, channels=_channels(kinds))
    deep = [kind.brightest for kind in kinds if kind.brightest is not None]
    if deep and settings.range == "auto":
        reading = replace(reading, **span(_bits(max(deep))))
    notes = [*_range_notes(deep, reading, len(kinds)), *_band_notes(reading)]
    return reading, notes, FileFacts(depth=_depth(deep, reading), dropped_bands=_dropped_bands(kinds, reading))


def _channels(kinds: Sequence[PixelKind]) -> int:
    """As many as the files have; grey counts as colour, for which networks were trained."""
    counts = {3 if kind.channels == 1 else kind.channels for kind in kinds} or {3}
    if len(counts) > 1:
        listed = ", ".join(map(str, sorted(counts)))
        raise TransferkitError(f"Some images have {listed} bands. Expected as many in every file.")
    return counts.pop()


def _bits(brightest: float) -> int:
    return next((bits for bits in BITS if brightest < 2**bits), 16)


def _range_notes(deep: Sequence[float], reading: Reading, looked_at: int) -> list[str]:
    if not deep:
        return []
    is_full = (reading.black, reading.white) == (0, DEEPEST)
    bits = "" if reading.clips else f" ({_bits(reading.white)} bits)"
    brightest = f"the brightest value in the {counted(looked_at, 'file')} looked at is {max(deep):,.0f}"
    hint = "" if is_full else "; data.range=16, or =[lowest,highest], reads them otherwise"
    return [
        f"values from {reading.black:,g} to {reading.white:,.0f}{bits} become black to white: {brightest}{hint}"
        if not reading.clips
        else f"values from {reading.black:,g} to {reading.white:,g} become black to white, as asked; {brightest}"
    ]


def _depth(deep: Sequence[float], reading: Reading) -> Depth | None:
    return Depth(reading.black, reading.white, max(deep)) if deep and not reading.clips else None


def _band_notes(reading: Reading) -> list[str]:
    if reading.channels == 3:
        return []
    return [f"images of {reading.channels} bands; pages show the first three as red, green and blue"]


def _dropped_bands(kinds: Sequence[PixelKind], reading: Reading) -> DroppedBands | None:
    """Files with more bands than the three that are read, as red, green, blue and near infrared."""
    more = [kind.bands for kind in kinds if kind.bands > 3] if reading.channels == 3 else []
    return DroppedBands(len(more), len(kinds), max(more)) if more else None
