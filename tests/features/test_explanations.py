"""Nearest training images and maps of the listed test images, as a run stores them and the report shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_runs import outputs, pictures
from torch import nn

from transferkit.data.images import Images
from transferkit.features.explanations.explain import explain, nearest_rows, searched
from transferkit.features.fast_classifier import collect
from transferkit.metrics.evaluation import listed_one_by_one
from transferkit.metrics.explanations import Explanations
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.recipe import BackboneSettings
from transferkit.report.inline_images import spotlit
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.machine import Runtime

CPU = Runtime(torch.device("cpu"), "fp32", 1)


def test_neighbours_are_those_of_highest_cosine() -> None:
    queries = np.array([[1, 0], [1, 1]], np.float32)
    features = np.array([[0, 5], [2, 0], [3, 3], [-1, 0]], np.float32)

    rows, cosines = nearest_rows(queries, features, 2)

    assert rows.tolist() == [[1, 2], [2, 0]]  # of [1, 1]: 1 for [3, 3]; [0, 5] and [2, 0] tie, the first comes first
    assert cosines == pytest.approx(np.array([[1, 0.5**0.5], [1, 0.5**0.5]]))


def test_features_of_zeros_are_alike_to_nothing() -> None:
    _, cosines = nearest_rows(np.zeros((1, 2), np.float32), np.ones((3, 2), np.float32), 3)

    assert cosines.tolist() == [[0, 0, 0]]


def test_the_search_is_bounded_seeded_and_in_order() -> None:
    rows = searched(60_000, 100_000, 1)

    assert len(rows) == len(set(rows.tolist())) == 5_000
    assert (np.diff(rows) > 0).all()
    assert (rows == searched(60_000, 100_000, 1)).all()
    assert (rows != searched(60_000, 100_000, 2)).any()


@pytest.fixture(scope="module")
def explained() -> tuple[Explanations, Images]:
    """What a small network gives for 40 test images, each of which is in train as well."""
    images = pictures(outputs(), side=16)
    settings = BackboneSettings(name="resnet20", weights="none")
    torch.manual_seed(0)
    classifier = backbones.load(settings, images.class_names, 16, SILENT).eval()
    test = collect(classifier, images, CPU, SILENT, "test")
    return explain(classifier, images, test, images, test, CPU, 40), images


def test_every_listed_image_finds_itself_first(explained: tuple[Explanations, Images]) -> None:
    found, images = explained

    first = [found.ids[row] for row in found.neighbours[:, 0]]

    assert first == [images.ids[index] for index in found.indices]
    assert found.similarities[:, 0] == pytest.approx(1.0, abs=1e-5)
    assert (np.diff(found.similarities, axis=1) <= 0).all()
    assert found.searched == found.train_images == 40
    for row, neighbour in enumerate(found.neighbours[:, 0]):
        assert (found.pictures[neighbour] == images.pixels[found.indices[row]]).all()
        assert found.labels[neighbour] == images.labels[found.indices[row]]


def test_every_listed_image_has_a_map(explained: tuple[Explanations, Images]) -> None:
    found, _ = explained

    assert found.maps.shape == (len(found.indices), 4, 4)  # 16 px after two strides of 2
    assert found.layer == "stage3"
    assert set(np.unique(found.maps.max(axis=(1, 2)))) <= {0, 255}


def test_what_is_saved_is_what_is_read(explained: tuple[Explanations, Images], tmp_path: Path) -> None:
    found, _ = explained
    found.save(tmp_path / "explanations.safetensors")

    read = Explanations.load(tmp_path / "explanations.safetensors")

    assert read.ids == found.ids
    assert (read.layer, read.crop, read.no_maps_because) == (found.layer, found.crop, found.no_maps_because)
    assert all((getattr(read, name) == getattr(found, name)).all() for name in ("indices", "neighbours", "maps"))


def test_another_file_is_refused(tmp_path: Path) -> None:
    outputs().save(tmp_path / "test.safetensors")

    with pytest.raises(TransferkitError, match="holds no explanations: 'indices' is missing"):
        Explanations.load(tmp_path / "test.safetensors")


def test_a_network_without_maps_still_has_neighbours() -> None:
    images = pictures(outputs())
    spec = InputSpec(2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    classifier = Classifier(nn.Flatten(), 12, images.class_names, {"all": ("",)}, spec)

    found = explain(classifier, images, outputs(width=12), images, outputs(width=12), CPU, 40)

    assert found.maps.shape == (len(found.indices), 0, 0)
    assert "no convolution" in found.no_maps_because
    assert found.neighbours.shape == (len(listed_one_by_one(outputs())), 3)


def test_a_spotlight_keeps_what_was_looked_at_and_darkens_the_rest() -> None:
    picture = np.full((3, 8, 8), 200, np.uint8)
    places = np.array([[255, 0], [0, 0]], np.uint8)

    lit = spotlit(picture, places)
    cropped = spotlit(picture, np.full((2, 2), 255, np.uint8), crop=0.5)

    assert lit[:, 0, 0].tolist() == [200] * 3
    assert lit[:, 7, 7].tolist() == [24] * 3  # 12 % of 200
    assert (cropped[0] == 200).sum() == 16  # the network saw the middle 4 x 4 px alone
