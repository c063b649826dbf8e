"""The listing of what is kept says what each thing is, of which images, and fits 80 columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_cli import transferkit

from transferkit import backbones, datasets
from transferkit.features import caches, inventory
from transferkit.features.extractor import FeatureExtractor
from transferkit.features.stored import stored_features
from transferkit.recipe import parse
from transferkit.runtime import Runtime
from transferkit.screen import SILENT

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
    (found,) = caches.kept()

    assert found.what == "resnet-mini (random initialisation), layer penultimate, 8 px, fp32-cpu"
    assert (found.of, found.images) == ("digits, val", features_of_digits)


def test_features_of_files_name_their_folder(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "pets" / name)

    FeatureExtractor("resnet-mini", weights="none", size=16, device="cpu").transform(tmp_path / "pets")

    assert [found.of for found in caches.kept()] == [str(tmp_path / "pets")]


@pytest.mark.usefixtures("features_of_digits")
def test_features_of_an_earlier_version_are_listed_by_the_hash_of_their_weights() -> None:
    (place,) = inventory.store_folder().glob("*/*/index.json")
    index = json.loads(place.read_text())
    del index["about"]
    place.write_text(json.dumps(index))

    (found,) = caches.kept()

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

    found = {entry.what: entry for entry in caches.kept()}

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
    (cache / "datasets" / "cifar-10").mkdir(parents=True)
    (cache / "datasets" / "cifar-10" / "batch").write_bytes(b"12345")

    assert caches.clear("downloads") == {"downloads": 5}
    assert list(caches.kept()) == []
