"""What of the pixels a person would not expect: 16-bit files whose values need fewer bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transferkit.data.decoding import brightest_value, mode_of

LOOKED_AT = 20  # files, evenly spread
BITS = (10, 12, 14)


def depth_notes(paths: Sequence[str]) -> list[str]:
    """Lines for the screen and the report, from some of the files.

    Sixteen-bit grey is read as 0 to 65535. Where the brightest value of all that were looked at needs fewer bits, as of
    a 12-bit sensor, the images come out nearly black.
    """
    chosen = [paths[at] for at in np.unique(np.linspace(0, len(paths) - 1, min(len(paths), LOOKED_AT)).astype(int))]
    modes = {path: mode_of(path) for path in chosen}
    values = [brightest_value(path) for path, mode in modes.items() if mode.startswith("I")]
    deep = [value for value in values if value is not None]
    return _range_note(max(deep)) if deep else []


def _range_note(brightest: int) -> list[str]:
    bits = next((bits for bits in BITS if brightest < 2**bits), 16)
    if bits == 16:
        return []
    return [
        f"WARNING: 16-bit grey is read as 0 to 65535, but the brightest value in the files looked at is {brightest:,}: "
        f"{bits} bits, so that the images are nearly black. Multiply the values by {2 ** (16 - bits)}, or save 8 bits."
    ]
