"""What the measurement of growth says of seconds and memory that were measured, and the files that it makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from growth import Measured, bitmap, growth, growth_of, table, write_pictures
from PIL import Image


def measured(images: int, cpu_seconds: float, peak_mebibytes: float = 400.0) -> Measured:
    """Of one command."""
    return Measured("predict", images, cpu_seconds, cpu_seconds, peak_mebibytes, "2026-11-27")


def test_growth_is_told_for_ten_times_the_images() -> None:
    """A hundred times the images and a hundred times the seconds: ten for each ten; twice the memory: its root."""
    step = growth(measured(100, 2.0, 300.0), measured(10_000, 200.0, 600.0))

    assert (step.times_cpu, step.times_memory) == (10.0, 1.414)


@pytest.mark.parametrize(("seconds", "is_worse"), [(20.0, False), (23.0, False), (26.0, True)])
def test_worse_than_linear_is_what_takes_more_than_twelve_times(seconds: float, is_worse: bool) -> None:
    assert growth(measured(1_000, 2.0), measured(10_000, seconds)).is_worse_than_linear is is_worse


def test_numbers_of_images_are_held_against_the_next_smaller_one() -> None:
    steps = list(growth_of([measured(10_000, 10.0), measured(1_000, 5.0), measured(100_000, 80.0)]))

    assert [(step.few, step.many, step.times_cpu) for step in steps] == [(1_000, 10_000, 2.0), (10_000, 100_000, 8.0)]


def test_the_table_marks_what_is_worse_than_linear() -> None:
    lines = [measured(1_000, 2.0), measured(10_000, 26.0)]

    row = list(table(lines, list(growth_of(lines))))[-1]

    assert row == "| `predict` | 2 s, 400 MiB | 26 s, 400 MiB | 13.0 x time, 1.0 x memory ! |"


def test_a_bitmap_is_read_as_the_pixels_it_was_made_of(tmp_path: Path) -> None:
    """BMP stores blue, green, red, and the lowest row first."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    (tmp_path / "a.bmp").write_bytes(bitmap(pixels))

    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.bmp")), pixels[::-1, :, ::-1])


def test_pictures_lie_in_folders_of_a_thousand_and_differ(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 1_001)

    assert len(list((tmp_path / "pictures" / "0000").iterdir())) == 1_000
    assert [path.name for path in (tmp_path / "pictures" / "0001").iterdir()] == ["0001000.bmp"]
    assert len({path.read_bytes() for path in (tmp_path / "pictures").rglob("*.bmp")}) == 1_001
