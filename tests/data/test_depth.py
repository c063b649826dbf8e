"""What is said of 16-bit files whose values need fewer bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.data.datasets.folder_depth import depth_notes


def grey16(path: Path, brightest: int) -> str:
    Image.fromarray(np.linspace(0, brightest, 64).reshape(8, 8).astype(np.uint16)).save(path)
    return str(path)


@pytest.mark.parametrize(("brightest", "bits", "factor"), [(1020, 10, 64), (4080, 12, 16), (16_000, 14, 4)])
def test_sixteen_bit_files_of_a_sensor_with_fewer_bits_are_told(
    brightest: int, bits: int, factor: int, tmp_path: Path
) -> None:
    (note,) = depth_notes([grey16(tmp_path / "a.png", 500), grey16(tmp_path / "b.png", brightest)])

    assert f"the brightest value in the files looked at is {brightest:,}: {bits} bits" in note
    assert f"Multiply the values by {factor}, or save 8 bits." in note


def test_files_that_use_sixteen_bits_or_eight_need_no_note(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "colour.png")

    assert depth_notes([grey16(tmp_path / "a.png", 65_535), str(tmp_path / "colour.png")]) == []
