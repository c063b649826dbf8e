"""What smaller inputs of a pretrained network save and cost, as measured: docs/results.md, "Smaller inputs"."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.runtime.durations import duration

LONG_SECONDS = 15 * 60


@dataclass(frozen=True)
class SizeLoss:
    """A smaller input beside a larger one, on the same images with the same network.

    Attributes:
        px: Side of the larger input.
        smaller_px: Side of the smaller one.
        points: What it lost.
        where: On what, with n.
    """

    px: int
    smaller_px: int
    points: float
    where: str


SMALL_IMAGES = "probe of EfficientNet-Lite0 on CIFAR-10, n = 3,000, 3 draws of 3,000 labels"
TEXTURES = "probe of EfficientNet-Lite0 on photographs of ten textures, n = 860, cross-validated"
MEASURED = (
    SizeLoss(224, 160, 2.2, TEXTURES),
    SizeLoss(128, 96, 2.0, SMALL_IMAGES),
    SizeLoss(96, 64, 8.7, SMALL_IMAGES),
)


def cheaper_size(seconds: float, px: int) -> str:
    """What the next smaller size would save and cost a long run; empty for a shorter one, and where nobody measured.

    Example:
        >>> cheaper_size(3600, 128)[:50], cheaper_size(600, 128), cheaper_size(3600, 192)
        ('Cheaper: --size 96 takes about 34 min; it lost 2.0', '', '')
    """
    measured = next((row for row in MEASURED if row.px == px), None)
    if seconds <= LONG_SECONDS or measured is None:
        return ""
    share = (measured.smaller_px / px) ** 2
    lost = f"it lost {measured.points:.1f} points there ({measured.where})"
    return f"Cheaper: --size {measured.smaller_px} takes about {duration(seconds * share)}; {lost}."
