"""`transferkit corrupt`: copies to look at, nothing overwritten, errors that name the file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.data.corruptions import CORRUPTIONS, corrupt
from transferkit.data.corruptions.constants import CIFAR, IMAGENET
from transferkit.data.corruptions.files import write_copies
from transferkit.runtime.errors import TransferkitError

DOCS = Path(__file__).parents[2] / "docs" / "corruptions.md"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """40 x 30 px."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def test_copies_are_the_corrupted_pictures_at_their_own_size(picture: Path, tmp_path: Path) -> None:
    written = write_copies([picture], ["fog", "contrast"], [2, 5], tmp_path / "out", None, 3)

    assert [path.name for path in written] == [
        "cat-fog-2.png",
        "cat-fog-5.png",
        "cat-contrast-2.png",
        "cat-contrast-5.png",
    ]
    pixels = torch.from_numpy(np.array(Image.open(picture))).movedim(-1, 0)[None]
    for path, (name, severity) in zip(written, [("fog", 2), ("fog", 5), ("contrast", 2), ("contrast", 5)], strict=True):
        expected = corrupt(pixels, name, severity, 3)[0].movedim(0, -1)
        np.testing.assert_array_equal(np.array(Image.open(path)), expected)


def test_the_command_writes_every_corruption_unless_told_otherwise(picture: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["corrupt", str(picture), "--severity", "1", "--size", "16", "--out", str(tmp_path / "out")]
    )

    assert result.exit_code == 0, result.exception
    assert result.stdout.replace("\n", " ").startswith(f"Wrote {len(CORRUPTIONS)} PNG files to")
    assert {Image.open(path).size for path in (tmp_path / "out").iterdir()} == {(16, 16)}


def test_nothing_is_overwritten_and_nothing_written_then(picture: Path, tmp_path: Path) -> None:
    write_copies([picture], ["fog"], [1, 2], tmp_path / "out", None, 0)

    with pytest.raises(TransferkitError, match=r"cat-fog-1.png and 1 more would be overwritten. Choose another folder"):
        write_copies([picture], ["contrast", "fog"], [1, 2], tmp_path / "out", None, 0)

    assert len(list((tmp_path / "out").iterdir())) == 2


def test_bad_pictures_and_names_are_named(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "cat.jpg"
    text = tmp_path / "notes.png"
    text.write_text("no image")
    Image.new("RGB", (5, 40)).save(tmp_path / "thin.png")
    Image.new("RGB", (1_025, 10)).save(tmp_path / "wide.png")

    for pictures, names, message in (
        ([text], ["fog"], rf"Cannot read {re.escape(str(text))}: not an image"),
        ([tmp_path / "none.png"], ["fog"], "none.png: there is no such file"),
        ([picture, twin], ["fog"], "2 pictures are named 'cat' and would be written to the same files"),
        ([tmp_path / "thin.png"], ["fog"], r"thin.png: Corruptions need images of at least 8 px .* got \(40, 5\)"),
        ([tmp_path / "wide.png"], ["fog"], "wide.png is 1025 x 10 px. .* give --size 224"),
        ([tmp_path / "other"], ["fog"], r"other is a folder. Give image files, such as .*other/\*.jpg"),
        ([picture], ["rain"], "Unknown corruption 'rain'"),
    ):
        with pytest.raises(TransferkitError, match=message):
            write_copies(pictures, names, [1], tmp_path / "out", None, 0)
    assert not (tmp_path / "out").exists()


def test_a_photograph_is_turned_upright_first(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10), (200, 0, 0))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "photo.jpg", exif=exif)

    (copy,) = write_copies([tmp_path / "photo.jpg"], ["brightness"], [1], tmp_path / "out", None, 0)

    assert Image.open(copy).size == (10, 20)


def test_the_page_shows_the_constants_that_are_used() -> None:
    rows = [
        line.split("|")[1:5]
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| [a-z_]+ \|", line)
    ]
    shown = {
        name.strip(): (family.strip(), *columns) for name, family, *columns in rows if name.strip() != "corruption"
    }

    assert {name: row[0] for name, row in shown.items()} == {name: entry.family for name, entry in CORRUPTIONS.items()}
    for name, (_, *columns) in shown.items():
        for column, table in zip(columns, (CIFAR, IMAGENET), strict=True):
            constants = table[name.removesuffix("_synthetic")]
            if name == "zoom_blur":
                constants = [factors[-1] for factors in constants]
            if name == "elastic_transform" and table is IMAGENET:
                constants = np.array(constants) * 224 / 244
            flat = np.concatenate([np.atleast_1d(entry) for entry in constants])
            np.testing.assert_allclose(
                flat, [float(number) for number in re.findall(r"[\d.]+", column)], atol=1e-9, err_msg=name
            )
