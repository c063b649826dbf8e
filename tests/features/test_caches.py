"""The listing of what is kept says what each thing is, of which images, and fits 80 columns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import transferkit
from PIL import Image

from transferkit.data import datasets
from transferkit.data.images import Images
from transferkit.features import caches, inventory
from transferkit.features.data_arguments import as_named
from transferkit.features.extractor import FeatureExtractor
from transferkit.features.store import open_store
from transferkit.features.stored import stored_features
from transferkit.models import backbones
from transferkit.recipe import BackboneSettings, parse
from transferkit.runtime import cached_files
from transferkit.runtime.console import SILENT
from transferkit.runtime.machine import Runtime

CPU = Runtime(torch.device("cpu"), "fp32", 1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def features_of_digits() -> int:
    """Stored features of the val images of digits; how many."""
    recipe = parse(
        {"data": "digits", "backbone": {"name": "resnet-mini", "weights": "none"}, "method": {"name": "probe"}}
    )
    splits = datasets.load(recipe.data, SILENT)
    classifier = backbones.load(recipe.backbone, splits.class_names, 8, SILENT)
    stored_features(classifier, splits.val, CPU, SILENT, "val")
    return len(splits.val)


def test_features_of_a_data_set_name_network_layer_and_part(features_of_digits: int) -> None:
    (found,) = caches.stored_items()

    assert found.what == "resnet-mini (random initialisation), layer penultimate, 8 px, fp32-cpu"
    assert (found.of, found.images) == ("digits, val", features_of_digits)


@pytest.mark.usefixtures("features_of_digits")
def test_features_that_were_stored_in_several_pieces_are_one_line() -> None:
    classifier = backbones.load(BackboneSettings(name="resnet-mini", weights="none"), ("a",), 8, SILENT)
    pixels = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) + np.zeros((1, 3, 8, 8), np.uint8)
    images = Images.from_pixels(pixels, None, ())

    for part in (images.subset([0, 1, 2, 3]), images.subset([4, 5])):
        stored_features(classifier, part, CPU, SILENT, "")

    assert [found.images for found in caches.stored_items() if not found.of] == [6]


def test_features_of_files_name_their_folder(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "pets" / name)

    FeatureExtractor("resnet-mini", weights="none", size=16, device="cpu").transform(tmp_path / "pets")

    assert [found.of for found in caches.stored_items()] == [str(tmp_path / "pets")]


@pytest.mark.usefixtures("features_of_digits")
def test_features_of_an_earlier_version_are_listed_by_the_hash_of_their_weights() -> None:
    (place,) = inventory.store_folder().glob("*/*/index.json")
    index = json.loads(place.read_text())
    del index["about"]
    place.write_text(json.dumps(index))

    (found,) = caches.stored_items()

    assert found.what.startswith(f"weights {index['key']['weights'][:8]}, layer penultimate")
    assert found.of == ""


def test_decoded_images_name_their_folder_and_incomplete_ones_are_told(tmp_path: Path, cache: Path) -> None:
    for part, label in (("train", "cat"), ("train", "dog"), ("test", "cat"), ("test", "dog")):
        (tmp_path / "pets" / part / label).mkdir(parents=True)
        for number in range(3):
            grey = (len(part) * 9 + len(label) + ord(label[0]) + number,) * 3
            Image.new("RGB", (16, 16), grey).save(tmp_path / "pets" / part / label / f"{number}.png")
    settings = {"name": "folder", "path": str(tmp_path / "pets"), "val_fraction": 0.4}
    datasets.load(
        parse({"data": settings, "backbone": {"name": "resnet-mini"}, "method": {"name": "probe"}}).data, SILENT
    )
    (cache / "images" / "0123abcd").mkdir()

    found = {entry.what: entry for entry in caches.stored_items()}

    whole = found["decoded, 16 px, squash"]
    assert (whole.of, whole.images) == (str(tmp_path / "pets"), 12)
    assert found["incomplete, 0123abcd"].images is None


@pytest.mark.usefixtures("features_of_digits")
def test_the_listing_fits_80_columns_and_tells_each_download(cache: Path, tmp_path: Path) -> None:
    for name in ("downloads/[bold]archive.tar.gz", "weights/timm/vit/model.safetensors", "datasets/svhn/a.mat"):
        (cache / name).parent.mkdir(parents=True)
        (cache / name).write_bytes(b"1" * 2_000_000)

    lines = transferkit("cache", "list", cwd=tmp_path, COLUMNS="80").stdout.splitlines()

    words = [" ".join(line.split()) for line in lines]
    assert words[0] == "cache what images size last used"
    assert any(line.startswith("downloads [bold]archive.tar.gz - 2.0 MB 20") for line in words)
    assert any(line.startswith("downloads timm/vit/model.safetensors - 2.0 MB 20") for line in words)
    assert any(line.startswith("downloads svhn - 2.0 MB 20") for line in words)
    assert max(map(len, lines)) <= 80


def test_clearing_downloads_takes_unpacked_data_sets_too(cache: Path) -> None:
    batch = cache / "datasets" / "cifar-10" / "batch"
    cached_files.will_write(batch)
    batch.parent.mkdir()
    batch.write_bytes(b"12345")
    manifest = (cache / "datasets" / ".transferkit.jsonl").stat().st_size

    assert caches.clear_caches("downloads") == {"downloads": 5 + manifest}
    assert list(caches.stored_items()) == []
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("what", ["downloads", "all"])
def test_images_given_in_python_are_removed_by_their_own_name_alone(cache: Path, what: str) -> None:
    name = as_named((np.zeros((2, 8, 8, 3), np.uint8), ["a", "b"]))
    file = Path(name.removeprefix("arrays:"))

    caches.clear_caches(what)

    assert file.parent == cache / "given"
    assert file.is_file()
    assert [item.what for item in caches.stored_items() if item.cache == "given"] == [file.name]
    caches.clear_caches("given")
    assert not file.exists()


@pytest.mark.parametrize("place", ["features", "images", "datasets", "weights", "downloads"])
def test_clearing_leaves_what_others_put_there_and_says_so(cache: Path, tmp_path: Path, place: str) -> None:
    (cache / place / "below").mkdir(parents=True)
    (cache / place / "below" / "mine.bin").write_bytes(b"12345")
    cached_files.will_write(cache / place / "theirs")
    (cache / place / "theirs").write_bytes(b"123")

    said = transferkit("cache", "clear", "all", cwd=tmp_path).stdout

    assert f"1 file in {cache / place} is not listed as transferkit's and stays" in " ".join(said.split())
    assert [path for path in cache.rglob("*") if path.is_file()] == [cache / place / "below" / "mine.bin"]


@pytest.mark.usefixtures("features_of_digits")
def test_files_of_others_among_the_features_stay(cache: Path) -> None:
    (cache / "features" / "notes.txt").write_text("mine")
    (cache / "features" / "FORMAT").write_text("0\n")
    index = next(cache.glob("features/*/*/index.json"))
    (index.parent / "notes.txt").write_text("mine")

    open_store(SILENT)

    assert not index.exists()
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {
        "notes.txt",
        "FORMAT",
        ".transferkit.jsonl",
        ".transferkit.lock",
    }


@pytest.mark.usefixtures("features_of_digits")
def test_features_from_before_the_manifest_are_cleared_too(cache: Path) -> None:
    (cache / "features" / ".transferkit.jsonl").unlink()

    caches.clear_caches("features")

    assert not (cache / "features").exists()
