"""Small pictures of images, for pages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Images, first_three

THUMBNAIL_PX = 64  # longer side of a picture, at most


def thumbnails(images: Images, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """(M, 3, h, w), small pictures of some images; the longer side is at most 64 px, small images stay as they are."""
    from PIL import Image

    height, width = images.size_px
    scale = min(1.0, THUMBNAIL_PX / max(height, width))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    pictures = np.empty((len(indices), 3, small[1], small[0]), np.uint8)
    for position, index in enumerate(indices):
        pixels = first_three(images.take(slice(index, index + 1))[0]).transpose(1, 2, 0)  # (H, W, 3)
        picture = Image.fromarray(pixels)
        resized = picture if picture.size == small else picture.resize(small, Image.Resampling.BILINEAR)
        pictures[position] = np.asarray(resized).transpose(2, 0, 1)
    return pictures
