"""Which images to label next: from the command, in Python, as a list and as a page."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import transferkit
from transferkit.api.trained_run import TrainedRun
from transferkit.cli.app import main
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.next_images.results import COLUMNS, NextImage

HOSTILE = "<img src=x onerror=alert(1)>.png"


def scenes(count: int, seed: int) -> np.ndarray:
    """(count, 3, 16, 16), smooth noise, every second one dark."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    resized = [np.asarray(Image.fromarray(small).resize((16, 16), Image.Resampling.BICUBIC)) for small in coarse]
    pixels = np.stack(resized).transpose(0, 3, 1, 2).copy()
    pixels[1::2] //= 4
    return pixels


OWN = scenes(40, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A probe that tells bright images from dark ones: 24 are train and val, 16 are test."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = {"classifier": "raw-pixels", "C": 1.0, "test_fraction": 0.4}
    return transferkit.probe("resnet-mini", (OWN, ["bright", "dark"] * 20), out=folder, quiet=True, **settings)


def save(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels.transpose(1, 2, 0)).save(path)


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """Twenty new images, one of them twice."""
    folder = tmp_path / "field"
    folder.mkdir()
    for number, pixels in enumerate(scenes(20, 1)):
        save(pixels, folder / f"{number:02d}.png")
    shutil.copy(folder / "07.png", folder / HOSTILE)
    return folder


@pytest.fixture
def command(
    run: TrainedRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Exit code of `transferkit next RUN ...`, with its result, or with what it says where it fails."""

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["transferkit", "next", str(run.path), *words])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return int(str(code)), said.err if code else said.out

    return call


def test_a_picture_that_is_there_twice_is_chosen_once(run: TrainedRun, field: Path) -> None:
    chosen = run.next(field, n=100, quiet=True)

    paths = [Path(image.path).name for image in chosen.images]
    assert len(paths) == 20
    assert len({"07.png", HOSTILE} & set(paths)) == 1
    assert chosen.near_copies == 1


def test_images_that_the_run_has_in_any_part_are_left_out(run: TrainedRun, field: Path) -> None:
    for number, pixels in enumerate(OWN):
        save(pixels, field / f"own-{number}.png")

    chosen = run.next(field, n=100, quiet=True)

    assert chosen.in_run == 40
    assert not [image.path for image in chosen.images if "own" in image.path]


def test_the_list_has_a_row_for_each_with_its_reason(
    command: Callable[..., tuple[int, str]], field: Path, tmp_path: Path
) -> None:
    out = tmp_path / "label" / "these.csv"

    code, messages = command("--field", str(field), "--n", "5", "--out", str(out))

    assert code == 0
    assert "5 images to label next, of 21 in " in messages
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {row["class_1"] for row in rows} <= {"bright", "dark"}
    assert all(Path(row["path"]).exists() for row in rows)


def test_the_page_shows_every_chosen_image_and_escapes_names(run: TrainedRun, field: Path, tmp_path: Path) -> None:
    chosen = run.next(field, n=100, out=tmp_path / "next.csv", quiet=True)

    page = (tmp_path / "next.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/') == len(chosen.images) == 20
    assert "<img src=x" not in page
    assert chosen.images[0].reason.split(";")[0] in page


def test_a_reason_names_what_it_is_near_to_and_between_which_classes() -> None:
    image = NextImage(1, 0, "a.png", ("cat", "dog"), (0.41, 0.38), 0.021)

    assert image.reason == "nearest to 2.1 % of the images; cat 41.0 % or dog 38.0 %"


def test_a_result_shows_itself(run: TrainedRun, field: Path) -> None:
    chosen = run.next(field, n=2, quiet=True)

    assert repr(chosen).splitlines()[0] == f"2 images to label next, of 21 in {field}."
    assert chosen._repr_html_().count("<tr>") == 3


def test_an_unreadable_file_is_counted_and_not_chosen(run: TrainedRun, field: Path) -> None:
    (field / "broken.png").write_bytes(b"no picture")

    chosen = run.next(field, n=100, quiet=True)

    assert (chosen.looked_at, chosen.unreadable) == (21, 1)
    assert "1 file could not be read" in chosen.lines()[0]


def test_a_field_of_known_images_alone_is_refused(run: TrainedRun, tmp_path: Path) -> None:
    save(OWN[0], tmp_path / "own.png")

    with pytest.raises(TransferkitError, match=r"0 of 1 readable image in .* are new: the run"):
        run.next(tmp_path, quiet=True)


def test_wrong_numbers_and_files_are_refused_before_any_work(
    command: Callable[..., tuple[int, str]], run: TrainedRun, field: Path, tmp_path: Path
) -> None:
    (tmp_path / "next.html").write_text("mine")

    assert command("--field", str(field), "--out", "list.txt") == (
        2,
        _error("--out names 'list.txt', which is no table"),
    )
    code, messages = command("--field", str(field), "--out", str(tmp_path / "next.csv"))
    assert code == 2
    assert "next.html exists. Choose another file with --out, or replace it with --overwrite." in messages
    assert (tmp_path / "next.html").read_text() == "mine"
    with pytest.raises(TransferkitError, match="n is 0; expected how many images to choose, at least 1"):
        run.next(field, n=0, quiet=True)


def _error(beginning: str) -> str:
    return f"Starting (loading torch takes a few seconds) ...\nerror: {beginning}. Let it end in .csv.\n"
