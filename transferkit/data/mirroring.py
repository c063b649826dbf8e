"""Whether a mirrored image shows the same class, as far as class names and answers on mirrored images tell."""

from __future__ import annotations

import numpy as np

from transferkit.data.images import Images


def mirrored_images(images: Images) -> Images:
    """A mirrored copy, with labels and ids; needs the memory of the copy."""
    return images.with_pixels(np.ascontiguousarray(images.pixels[..., ::-1]))
