"""Faster decoders and resizers give the pixels, the errors and the fingerprints of Pillow's."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import hostile_images
import numpy as np
import pytest
from PIL import Image

from transferkit.data import datasets, fast_jpeg
from transferkit.data.datasets import folder_cache
from transferkit.data.decoding import decode
from transferkit.data.images import Images, Pixels
from transferkit.data.resizing import by_pillow, by_torch, worthwhile
from transferkit.recipe import FolderData
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError


@pytest.fixture
def without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with monkeypatch.context() as patch:
        patch.setattr(fast_jpeg, "_simplejpeg", lambda: None)
        yield patch


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coarse colours, enlarged."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)  # type: ignore[arg-type]
    return file.getvalue()


def differences(some: Pixels, other: Pixels) -> tuple[int, float]:
    """The largest difference in levels, and the share of values that differ."""
    apart = np.abs(some.astype(int) - other)
    return int(apart.max()), float((apart > 0).mean())


@pytest.mark.parametrize("size", [16, 64, 128, 224])
@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize(
    "options",
    [{"quality": 90}, {"quality": 60, "subsampling": "4:4:4"}, {"subsampling": "4:2:2"}, {"progressive": True}],
    ids=["4:2:0", "4:4:4", "4:2:2", "progressive"],
)
def test_jpegs_have_the_pixels_that_pillow_decodes(
    options: dict[str, object], fit: str, size: int, without_simplejpeg: pytest.MonkeyPatch
) -> None:
    file = jpeg(photograph(501, 375), **options)
    by_pillows_decoder = decode(io.BytesIO(file), size, fit)
    without_simplejpeg.undo()

    levels, share = differences(decode(io.BytesIO(file), size, fit), by_pillows_decoder)

    assert levels <= 1
    assert share <= 0.01


def test_simplejpeg_decodes_what_it_can() -> None:
    file = jpeg(photograph(500, 375))

    pixels = fast_jpeg.decoded(Image.open(io.BytesIO(file)), file, 64)

    assert pixels is not None
    assert pixels.shape == (94, 125, 3)  # a quarter, rounded up


@pytest.mark.parametrize(
    ("size", "fraction"), [(375, 1), (224, 1), (188, 1), (187, 2), (94, 2), (93, 4), (47, 4), (46, 8), (8, 8)]
)
def test_jpegs_are_decoded_at_halves_of_halves_alone(size: int, fraction: int) -> None:
    assert fast_jpeg.fraction_for((500, 375), size) == fraction


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(500, 375, 224), (375, 500, 130), (300, 300, 224), (32, 32, 64), (33, 20, 32), (900, 225, 224)],
)
def test_torch_resizes_as_pillow_does(width: int, height: int, size: int) -> None:
    image = photograph(width, height)

    levels, share = differences(by_torch(image, size, "squash"), by_pillow(image, size, "squash"))

    assert levels <= 1
    assert share <= 0.01


@pytest.mark.parametrize(("width", "height", "fit"), [(64, 32, "crop"), (65, 300, "squash"), (16, 16, "squash")])
def test_crops_and_shrinking_by_more_than_four_are_left_to_pillow(width: int, height: int, fit: str) -> None:
    image = photograph(width, height)

    assert np.array_equal(by_torch(image, 16, fit), by_pillow(image, 16, fit))


def test_torch_is_imported_by_decoding_processes_only_where_that_pays() -> None:
    assert worthwhile(3_000, 224, processes=1) == "torch"  # 1.5e8 pixels
    assert worthwhile(3_000, 224, processes=2) == "pillow"
    assert worthwhile(50_000, 32, processes=2) == "pillow"


@pytest.mark.filterwarnings("ignore")  # of Pillow, about damaged TIFFs
def test_damaged_files_give_the_same_errors_and_pixels(without_simplejpeg: pytest.MonkeyPatch) -> None:
    files = [*hostile_images.images(seed=7, count=300), *(cut(40) for _ in range(1)), cut(1000), cut(-2)]
    by_pillows_decoder = [outcome(file) for file in files]
    without_simplejpeg.undo()

    outcomes = [outcome(file) for file in files]

    assert sum("Cannot read" in outcome for outcome in outcomes) >= 100
    assert outcomes == by_pillows_decoder


def cut(end: int) -> bytes:
    """A photograph of which the end is missing."""
    return jpeg(photograph(200, 100))[:end]


def outcome(file: bytes) -> str:
    try:
        return decode(io.BytesIO(file), 16, "squash").tobytes().hex()
    except TransferkitError as error:
        return str(error)


def test_the_fingerprint_of_a_folder_does_not_depend_on_who_decodes(
    tmp_path: Path, without_simplejpeg: pytest.MonkeyPatch
) -> None:
    for index in range(20):
        path = tmp_path / "photos" / "ab"[index % 2] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(photograph(90, 70, seed=index)))
    slow = load(tmp_path / "photos")
    shutil.rmtree(cache_folder())
    without_simplejpeg.undo()
    without_simplejpeg.setattr(folder_cache, "worthwhile", lambda *_, **__: "torch")

    fast = load(tmp_path / "photos")

    assert fast.fingerprint == slow.fingerprint
    assert fast.subset([1, 0]).fingerprint != slow.fingerprint
    assert not np.array_equal(fast.digests, slow.digests)  # one value in 500 is one level off
    assert differences(fast.pixels, slow.pixels)[0] == 1


def test_another_size_and_another_fit_have_other_fingerprints(tmp_path: Path) -> None:
    for index in range(20):
        path = tmp_path / "ab"[index % 2] / f"{index}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg(photograph(40, 40, seed=index)))  # square: both fits give the same pixels

    loaded = [load(tmp_path, size, fit) for size, fit in ((40, "squash"), (40, "crop"), (32, "squash"))]

    assert len({images.fingerprint for images in loaded}) == 3


def load(path: Path, size: int = 50, fit: str = "squash") -> Images:
    return datasets.load(FolderData(name="folder", path=path, storage=size, fit=fit), SILENT).train


def test_images_from_files_are_known_by_their_pixels_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 4), dtype=np.uint8)
    of_pixels = Images.from_pixels(pixels, [0, 0, 0], ["cat"])
    contents = np.arange(48, dtype=np.uint8).reshape(3, 16)
    of_files = Images(pixels, of_pixels.rows, of_pixels.labels, ("cat",), of_pixels.ids, None, "", None, contents)

    assert of_files.fingerprint != of_pixels.fingerprint
    assert of_files.is_known_as(of_files.fingerprint)
    assert of_files.is_known_as(of_pixels.fingerprint)
    assert not of_files.is_known_as(of_pixels.subset([0]).fingerprint)
    assert of_files.with_pixels(pixels).fingerprint == of_pixels.fingerprint
