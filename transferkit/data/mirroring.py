"""Whether a mirrored image shows the same class, as far as class names and answers on mirrored images tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from transferkit.data.images import Images


def mirrored_images(images: Images) -> Images:
    """A mirrored copy, with labels and ids; needs the memory of the copy."""
    pixels = np.ascontiguousarray(images.pixels[..., ::-1])
    return replace(images, storage=pixels, rows=np.arange(len(images), dtype=np.int64), storage_digests=None)
