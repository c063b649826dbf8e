"""The shapes: each covers the area that geometry says, wherever it lies and however it is turned."""

from __future__ import annotations

import math

import numpy as np
import pytest

from transferkit.data import datasets
from transferkit.data.datasets import shapes
from transferkit.data.datasets.shapes import CLASS_NAMES, Placement, coverages
from transferkit.recipe import ShapesData
from transferkit.runtime.console import SILENT

AREAS = {  # of a shape in the unit circle
    "circle": 0.81 * math.pi,
    "cross": 2 * 1.9 * 0.54 - 0.54**2,  # two bars, their common middle counted once
    "ring": (0.81 - 0.2) * math.pi,
    "square": 1.4**2,
    "star": 10 * 0.5 * 1 * 0.4 * math.sin(math.pi / 5),  # ten triangles from centre, tip (1) and notch (0.4)
    "triangle": 3 * 0.5 * math.sin(2 * math.pi / 3),  # three triangles from the centre
}


@pytest.mark.parametrize("name", AREAS)
@pytest.mark.parametrize(("centre", "angle"), [((0.0, 0.0), 0.0), ((0.3, -0.2), 0.7)])
def test_a_shape_covers_its_area(name: str, centre: tuple[float, float], angle: float) -> None:
    place = Placement(np.array([centre], np.float32), np.array([0.5], np.float32), np.array([angle], np.float32))

    covered = coverages(np.array([CLASS_NAMES.index(name)]), place, 200)

    assert set(AREAS) == set(CLASS_NAMES)
    assert covered.sum() * (2 / 200) ** 2 == pytest.approx(AREAS[name] * 0.5**2, rel=0.03)


def test_shapes_are_the_same_twice_and_others_with_another_seed() -> None:
    first, second, third = (
        datasets.load(ShapesData(name="shapes", per_class=6, drawing_seed=seed), SILENT) for seed in (0, 0, 1)
    )

    assert first.train.fingerprint == second.train.fingerprint
    assert first.train.fingerprint != third.train.fingerprint
    assert first.train.size_px == (32, 32)


def test_colours_alone_do_not_tell_the_shapes_apart() -> None:
    labels = np.repeat(np.arange(6), 200)
    pixels = shapes.drawn(labels, 32, np.random.default_rng(0)).astype(np.float32)

    means = pixels.mean((2, 3))  # (N, 3)
    by_class = np.stack([means[labels == label].mean(0) for label in range(6)])

    assert by_class.std(0).max() < 0.15 * means.std(0).min()


def test_plain_shapes_are_white_where_they_cover_a_pixel_and_black_elsewhere() -> None:
    splits = datasets.load(ShapesData(name="shapes", per_class=6, plain=True), SILENT)

    pixels = splits.train.pixels[:]
    assert set(np.unique(pixels)) == {0, 64, 128, 191, 255}  # 0 to 4 of the four samples of a pixel
    assert (pixels == pixels[:, :1]).all()
