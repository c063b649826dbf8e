"""Which values become black and white of files that are deeper than 8 bits, and what is said of bands left out."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from transferkit.data.datasets import folder
from transferkit.data.datasets.folder_depth import seen_reading
from transferkit.data.decoding import decode
from transferkit.data.file_facts import DroppedBands, FileFacts
from transferkit.data.images import Splits
from transferkit.data.reading import Reading, read_as, reading_of
from transferkit.recipe import FolderData, parse_data
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError


def grey16(path: Path, *values: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array([values], np.uint16).repeat(len(values), axis=0)).save(path)
    return str(path)


def settings(**keys: Any) -> FolderData:
    return FolderData(name="folder", path=Path("x"), **keys)


def tiff(path: Path, bands: int, extra: int) -> str:
    """A TIFF of 2 x 2 px whose photometric interpretation is RGB, of 8 bits in each band; `extra` as ExtraSamples."""
    data, entries = bytes(range(4 * bands)), []
    after = 8 + 2 + 12 * 11 + 4
    shorts = struct.pack(f"<{bands}H", *[8] * bands)
    for tag, kind, count, value in [
        (256, 3, 1, 2),
        (257, 3, 1, 2),
        (258, 3, bands, after),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, after + len(shorts)),
        (277, 3, 1, bands),
        (278, 3, 1, 2),
        (279, 4, 1, len(data)),
        (284, 3, 1, 1),
        (338, 3, bands - 3, extra),
    ]:
        entries.append(struct.pack("<HHII", tag, kind, count, value))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    path.write_bytes(head + b"".join(entries) + struct.pack("<I", 0) + shorts + data)
    return str(path)


@pytest.mark.parametrize(("brightest", "bits"), [(250, 8), (1020, 10), (4080, 12), (16_000, 14), (65_535, 16)])
def test_the_brightest_value_says_how_many_bits_are_in_use(brightest: int, bits: int, tmp_path: Path) -> None:
    files = [grey16(tmp_path / "a.png", 0, 200), grey16(tmp_path / "b.png", 0, brightest)]

    reading, (note,), _ = seen_reading(files, settings())

    assert read_as(reading) == {"range": bits, "channels": 3}
    assert f"values from 0 to {2**bits - 1:,} ({bits} bits) become black to white" in note
    assert f"the brightest value in the 2 files looked at is {brightest:,}" in note


def test_files_of_eight_bits_need_no_note(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "colour.png")

    assert seen_reading([str(tmp_path / "colour.png")], settings()) == (Reading(), [], FileFacts())


def test_twelve_bits_fill_the_eight_of_a_pixel(tmp_path: Path) -> None:
    path = grey16(tmp_path / "a.png", 0, 2048, 4095)

    levels = decode(path, 3, reading_of(settings(range=12)))

    assert levels[0, 0].tolist() == [0, 128, 255]  # 255 * 2048 / 4095 = 127.53


def test_a_window_clips_what_lies_beyond(tmp_path: Path) -> None:
    path = grey16(tmp_path / "a.png", 500, 1500, 5000)

    levels = decode(path, 3, reading_of(settings(range=[1000, 2000])))

    assert levels[0, 0].tolist() == [0, 128, 255]  # 255 * 500 / 1000 = 127.5, half up


def test_floats_are_read_within_a_window(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 1.0]] * 2, np.float32)).save(tmp_path / "a.tif")

    levels = decode(tmp_path / "a.tif", 2, reading_of(settings(range=[0, 1])))

    assert levels[0, 0].tolist() == [0, 255]


def test_a_file_brighter_than_its_bits_is_refused_with_what_to_type(tmp_path: Path) -> None:
    path = grey16(tmp_path / "a.png", 0, 5000)

    with pytest.raises(TransferkitError, match=r"values up to 5,000, beyond the 4,095 that are white here"):
        decode(path, 2, reading_of(settings(range=12)))


@pytest.mark.parametrize(
    ("asked", "message"),
    [([9, 9], "two numbers, the lower one first"), (7, "range"), (17, "range"), ("[4095,0]", "the lower one first")],
)
def test_a_range_that_is_none_is_refused(asked: Any, message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        parse_data({"name": "folder", "path": "x", "range": asked})


def test_a_window_can_be_typed_as_an_option() -> None:
    data = parse_data({"name": "folder", "path": "x", "range": "[-1000,400]"})

    assert data.model_dump()["range"] == (-1000, 400)


def loaded(root: Path, **keys: Any) -> Splits:
    return folder.load(FolderData(name="folder", path=root, **keys), SILENT)


def test_images_of_twelve_bits_are_those_of_sixteen(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(4):
            values = np.array([0, 20 * number, 255])
            grey16(tmp_path / "b16" / name / f"{number}.png", *map(int, values * 257))
            grey16(tmp_path / "b12" / name / f"{number}.png", *map(int, np.round(values * 4095 / 255)))

    sixteen, twelve = loaded(tmp_path / "b16"), loaded(tmp_path / "b12")

    assert np.array_equal(sixteen.train.pixels, twelve.train.pixels)
    assert (sixteen.read_as["range"], twelve.read_as["range"]) == (16, 12)


def test_a_fourth_band_is_dropped_and_counted(tmp_path: Path) -> None:
    files = [tiff(tmp_path / "nir.tif", 4, extra=0), tiff(tmp_path / "nir5.tif", 5, extra=0)]

    _, notes, facts = seen_reading(files, settings())

    assert notes == []
    assert facts.dropped_bands == DroppedBands(files=2, looked_at=2, bands=5)


def test_alpha_and_cmyk_are_no_fourth_band(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4)).save(tmp_path / "cmyk.tif")
    Image.new("RGBA", (4, 4)).save(tmp_path / "rgba.tif")
    files = [tiff(tmp_path / "alpha.tif", 4, extra=2), str(tmp_path / "cmyk.tif"), str(tmp_path / "rgba.tif")]

    assert seen_reading(files, settings())[1:] == ([], FileFacts())


def test_larger_images_than_pillows_bound_are_read_where_they_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (100, 100)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)

    with pytest.raises(TransferkitError, match=r"more than 4,000 pixels.*or allow more by data.max_megapixels=500"):
        decode(path, 8, "squash")
    assert decode(path, 8, reading_of(settings(max_megapixels=0.01))).shape == (3, 8, 8)


def test_fewer_megapixels_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (100, 100)).save(path)

    with pytest.raises(TransferkitError, match=r"more than 9,000 pixels"):
        decode(path, 8, reading_of(settings(max_megapixels=0.009)))
