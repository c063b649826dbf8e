"""Pictures become squares: by Pillow, or by torch, which resizes bytes about five times as fast to within one level."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image

from transferkit.data.images import Pixels

Picture: TypeAlias = Image.Image | Pixels  # pixels are (H, W, 3)
Resizer: TypeAlias = Callable[[Picture, int, str], Pixels]

REDUCING_GAP = 2.0  # Pillow averages whole pixels first where a side shrinks by more than twice this
TORCH_PAYS = 1.5e8  # resized pixels per process: saves 2.2 s, importing torch takes 1.1 s of a core


def by_pillow(picture: Picture, size: int, fit: str) -> Pixels:
    """(C, size, size), bent or the largest square in the middle; antialiased bilinear."""
    if _shape(picture) == (size, size):
        return bands_first(np.asarray(picture))
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    box = _centre_square(image.size) if fit == "crop" else None
    resized = image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=REDUCING_GAP)
    return bands_first(np.asarray(resized))


def by_torch(picture: Picture, size: int, fit: str) -> Pixels:
    """The same, at most one level apart; what Pillow does otherwise is left to it: reducing first, and crops."""
    width, height = _shape(picture)
    is_bent = fit != "crop" or width == height
    if not is_bent or width == height == size or max(width, height) >= 2 * REDUCING_GAP * size:
        return by_pillow(picture, size, fit)
    values = np.array(picture) if isinstance(picture, Image.Image) else picture
    return _resized(values.reshape(height, width, -1).transpose(2, 0, 1), size)


RESIZERS: dict[str, Resizer] = {"pillow": by_pillow, "torch": by_torch}


def worthwhile(count: int, size: int, processes: int) -> str:
    """By which of RESIZERS so many images are resized soonest by processes that have yet to import torch.

    Example:
        >>> worthwhile(5_000, 128, processes=2), worthwhile(50_000, 224, processes=2)
        ('pillow', 'torch')
    """
    return "torch" if count * size**2 >= TORCH_PAYS * processes else "pillow"


def bands_first(values: Pixels) -> Pixels:
    """(H, W[, C]) -> (C, H, W)."""
    return np.ascontiguousarray(values.reshape(*values.shape[:2], -1).transpose(2, 0, 1))


def _shape(picture: Picture) -> tuple[int, int]:
    """Width and height in px."""
    return picture.size if isinstance(picture, Image.Image) else (picture.shape[1], picture.shape[0])


def _resized(values: Pixels, size: int) -> Pixels:
    """(C, H, W) of any strides -> (C, size, size)."""
    import torch  # a second and 200 MB, which small folders do without

    batch = torch.from_numpy(values)[None]
    with torch.inference_mode():
        resized = torch.nn.functional.interpolate(batch, (size, size), mode="bilinear", antialias=True)
    return resized[0].contiguous().numpy()


def _centre_square(size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size
    side = min(size)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side
