"""Six shapes in colour on textured grounds, drawn from one seed: a data set on which every part of a CNN matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from transferkit.data.datasets.glyphs import contrasting_colours
from transferkit.data.datasets.outline import Outline
from transferkit.data.images import Images, Pixels, Splits
from transferkit.data.splitting import divided
from transferkit.recipe import ShapesData
from transferkit.runtime.console import Console

Floats: TypeAlias = npt.NDArray[np.float32]
Paint: TypeAlias = Callable[[Floats, np.random.Generator], Pixels]

SAMPLES = 2  # per side of a pixel: four samples are averaged into one
IMAGES_AT_ONCE = 512

RADIUS = (0.26, 0.5)  # of the circle around a shape, in half sides of the image
OVERHANG = 0.25  # of the radius: so far a shape may reach over the border
WAVELENGTH = (0.18, 0.7)  # of the texture, in half sides
TEXTURE = 0.22  # its largest amplitude, as a share of white, on the ground and on the shape


@dataclass(frozen=True)
class Placement:
    """Where B shapes lie, in coordinates from -1 to 1: centres (B, 2), x before y; radii (B,); angles (B,) in rad."""

    centre: Floats
    radius: Floats
    angle: Floats


def load(settings: ShapesData, console: Console) -> Splits:  # noqa: ARG001 - nothing here takes long
    """`per_class` images of each shape, a stratified share sealed as test; the same settings draw the same pixels."""
    labels = np.repeat(np.arange(len(SHAPES)), settings.per_class)
    pixels = drawn(labels, settings.size, np.random.default_rng(settings.drawing_seed), paint=PAINTS[settings.plain])
    ids = [f"{CLASS_NAMES[label]}-{number % settings.per_class:05d}" for number, label in enumerate(labels)]
    return divided(Images.from_pixels(pixels, labels, CLASS_NAMES, ids), settings.test_fraction, settings)


def outline(settings: ShapesData) -> Outline:
    """As many as are drawn."""
    classes = len(SHAPES)
    return Outline.divided(classes * settings.per_class, settings.test_fraction, classes, settings.size)


def drawn(
    labels: npt.NDArray[np.int64],
    size: int,
    generator: np.random.Generator,
    paint: Paint | None = None,
) -> Pixels:
    """Pixels (N, 3, size, size): one shape each, anywhere, turned by any angle, perhaps cut by the border.

    Args:
        labels: (N,), which shape.
        size: Side in px.
        generator: Of places, radii, angles and colours.
        paint: Turns coverages (B, size, size) into pixels; None: `painted`.
    """
    paint = paint or painted
    pixels = np.empty((len(labels), 3, size, size), dtype=np.uint8)
    for start in range(0, len(labels), IMAGES_AT_ONCE):
        batch = slice(start, start + IMAGES_AT_ONCE)
        coverage = coverages(labels[batch], _anywhere(len(labels[batch]), generator), size)
        pixels[batch] = paint(coverage, generator)
    return pixels


def coverages(labels: npt.NDArray[np.int64], placement: Placement, size: int) -> Floats:
    """(B, size, size): the share of each pixel that lies inside the shape."""
    points = SAMPLES * size
    centres = ((np.arange(points) + 0.5) / points * 2 - 1).astype(np.float32)
    inside = np.empty((len(labels), points, points), dtype=np.float32)
    for row, label in enumerate(labels):
        x = centres[None, :] - placement.centre[row, 0]
        y = centres[:, None] - placement.centre[row, 1]
        cos, sin = np.cos(placement.angle[row]), np.sin(placement.angle[row])
        across, down = (cos * x + sin * y) / placement.radius[row], (cos * y - sin * x) / placement.radius[row]
        inside[row] = SHAPES[CLASS_NAMES[label]](across, down)
    shares: Floats = inside.reshape(len(labels), size, SAMPLES, size, SAMPLES).mean(axis=(2, 4))
    return shares


def painted(coverage: Floats, generator: np.random.Generator) -> Pixels:
    """Pixels (B, 3, H, W) of shapes (B, H, W): both colours at random, and one texture each for ground and shape."""
    count, size, _ = coverage.shape
    background, foreground = contrasting_colours(count, generator)
    ground = background + textures(count, size, generator)
    shape = foreground + textures(count, size, generator)
    values = ground + (shape - ground) * coverage[:, None]
    pixels: Pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return pixels


def white_on_black(coverage: Floats, _: np.random.Generator) -> Pixels:
    """Pixels (B, 3, H, W) of shapes (B, H, W)."""
    grey: Pixels = np.rint(coverage * 255).astype(np.uint8)
    return np.repeat(grey[:, None], 3, axis=1)


PAINTS = {False: painted, True: white_on_black}  # by `plain`


def textures(count: int, size: int, generator: np.random.Generator) -> Floats:
    """(B, 3, size, size) around zero: two crossing waves of random direction, length, strength and tint."""
    points = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    total = np.ones((count, size, size), dtype=np.float32)
    for _ in range(2):
        angle, phase = generator.uniform(0, 2 * np.pi, (2, count, 1, 1)).astype(np.float32)
        length = generator.uniform(*WAVELENGTH, (count, 1, 1)).astype(np.float32)
        along = np.cos(angle) * points[None, None, :] + np.sin(angle) * points[None, :, None]
        total *= np.sin(2 * np.pi * along / length + phase)
    tint = generator.uniform(-TEXTURE, TEXTURE, (count, 3, 1, 1)).astype(np.float32)
    return tint * total[:, None]


def _anywhere(count: int, generator: np.random.Generator) -> Placement:
    radius = generator.uniform(*RADIUS, count).astype(np.float32)
    reach = 1 - radius * (1 - OVERHANG)
    centre = generator.uniform(-1, 1, (count, 2)) * reach[:, None]
    return Placement(centre.astype(np.float32), radius, generator.uniform(0, 2 * np.pi, count).astype(np.float32))


# ----------------------------------------------------------- shapes: which points (x, y) of the unit circle are inside


def _circle(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(x**2 + y**2 <= 0.81)


def _ring(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    square = x**2 + y**2
    return np.asarray((square <= 0.81) & (square >= 0.2))


def _square(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(np.maximum(abs(x), abs(y)) <= 0.7)


def _triangle(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    side = np.maximum(abs(x) * np.sqrt(np.float32(3)) - y, 2 * y)  # three half planes at distance 1/2 of the centre
    return np.asarray(side <= 1)


def _cross(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    longer, shorter = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    return np.asarray((longer <= 0.95) & (shorter <= 0.27))


def _star(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    fold = np.abs(np.mod(np.arctan2(y, x), 2 * np.pi / 5) - np.pi / 5)  # 0 at a notch, pi / 5 at a tip
    distance = np.hypot(x, y)
    share = distance * np.cos(np.pi / 5 - fold), distance * np.sin(np.pi / 5 - fold)  # along and across the tip's axis
    notch = 0.4 * np.cos(np.pi / 5), 0.4 * np.sin(np.pi / 5)
    return np.asarray((1 - share[0]) * notch[1] - share[1] * (1 - notch[0]) >= 0)


SHAPES: dict[str, Callable[[Floats, Floats], npt.NDArray[np.bool_]]] = {
    "circle": _circle,
    "cross": _cross,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}
CLASS_NAMES = tuple(SHAPES)
