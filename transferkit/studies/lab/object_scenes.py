"""Scenes with several shapes, and what an instance segmenter learns from them: boxes, kinds and masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferkit.data.datasets.shapes import CLASS_NAMES, Floats, Placement, coverages, painted
from transferkit.data.images import Pixels

KINDS = ("circle", "square", "triangle")
PER_SCENE = 2
RADIUS = (0.3, 0.42)  # in half sides of the scene
INSIDE = 0.5  # a pixel belongs to a shape that covers this share of it


@dataclass(frozen=True)
class Scene:
    """An image with its objects.

    Attributes:
        pixels: (3, H, W) uint8.
        kinds: (K,), index into `KINDS` of each object.
        masks: (K, H, W) bool.
    """

    pixels: Pixels
    kinds: npt.NDArray[np.int64]
    masks: npt.NDArray[np.bool_]

    @property
    def boxes(self) -> Floats:
        """(K, 4): left, top, right and bottom edge of each mask, in px."""
        boxes = []
        for mask in self.masks:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        return np.array(boxes, np.float32)


def scenes(count: int, size_px: int, seed: int) -> list[Scene]:
    """Scenes of two shapes each, one on either side of a line through the middle, on one textured ground."""
    generator = np.random.default_rng(seed)
    return [_scene(size_px, generator) for _ in range(count)]


def _scene(size_px: int, generator: np.random.Generator) -> Scene:
    kinds = generator.integers(len(KINDS), size=PER_SCENE)
    covered = coverages(np.array([CLASS_NAMES.index(KINDS[kind]) for kind in kinds]), _apart(generator), size_px)
    pixels = painted(covered[:1], generator)
    for coverage in covered[1:]:
        above = painted(coverage[None], generator)
        pixels = np.where(coverage >= INSIDE, above, pixels)
    return Scene(pixels[0], kinds, covered >= INSIDE)


def _apart(generator: np.random.Generator) -> Placement:
    """Two places that do not touch: left and right, or above and below."""
    radius = generator.uniform(*RADIUS, PER_SCENE)
    room = np.maximum(1 - radius, 0)
    along = np.array([-0.5, 0.5]) + generator.uniform(-1, 1, PER_SCENE) * (0.5 - radius)
    centre = np.stack([along, generator.uniform(-1, 1, PER_SCENE) * room], axis=1)
    if generator.random() < 0.5:
        centre = centre[:, ::-1]
    angle = generator.uniform(0, 2 * np.pi, PER_SCENE)
    return Placement(centre.astype(np.float32), radius.astype(np.float32), angle.astype(np.float32))
