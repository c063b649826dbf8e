"""Filters, feature maps and shifts: what is drawn and counted is what the network computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from transferkit.data.images import Images
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab import filters
from transferkit.studies.lab.named_networks import named_network
from transferkit.studies.lab.shift_consistency import moved, shifts


def test_maps_are_the_outputs_of_the_stages() -> None:
    network = named_network("resnet20", "none", None, SILENT).classifier
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)

    maps = filters.stage_maps(network, pixels)

    with torch.no_grad():
        expected = network.body.stem(network.prepare(torch.from_numpy(pixels)[None]))[0].numpy()  # type: ignore[operator]
    assert {stage: found.shape for stage, found in maps.items()} == {
        "stem": (16, 32, 32),
        "stage1": (16, 32, 32),
        "stage2": (32, 16, 16),
        "stage3": (64, 8, 8),
    }
    np.testing.assert_allclose(maps["stem"], expected, atol=1e-5)


def test_filters_and_maps_are_drawn_with_a_sentence_on_what_is_shown(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    network = named_network("simple-cnn", "none", 16, SILENT).classifier

    told = filters.draw(network, None, tmp_path / "filters.png")
    told_of_maps = filters.draw(network, tmp_path / "red.png", tmp_path / "maps.svg")

    assert told.startswith("Drawn: all 32 filters of the first convolution, 3x3 px. Grey is zero")
    assert "first 10 maps of each stage" in told_of_maps
    assert (tmp_path / "filters.png").read_bytes().startswith(b"\x89PNG")
    assert "block3: 128 maps of 2 x 2 px" in (tmp_path / "maps.svg").read_text()


def test_the_most_active_maps_are_those_with_the_largest_mean_absolute_value(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    network = named_network("simple-cnn", "none", 16, SILENT).classifier
    maps = filters.stage_maps(network, np.array(Image.new("RGB", (16, 16), "red")).transpose(2, 0, 1))

    drawing = filters.described(network, tmp_path / "red.png", tmp_path / "maps.svg", "active")

    block1 = drawing.stages[0]
    means = sorted((-float(abs(map_).mean()), number) for number, map_ in enumerate(maps["block1"]))
    assert list(block1.shown) == [number for _, number in means[:10]]
    assert block1.activity == pytest.approx([-mean for mean, _ in means[:10]], rel=1e-5)
    assert "the 10 maps with the largest mean absolute value" in drawing.sentence


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"Cannot draw a figure as 'f.gif'. Expected a name that ends in .pdf"):
        filters.draw(named_network("simple-cnn", "none", 16, SILENT).classifier, None, tmp_path / "f.gif")


def test_moved_images_slide_over_a_mirrored_border() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)

    assert moved(image, 1, 0).flatten().tolist() == [3, 4, 5, 0, 1, 2, 3, 4, 5]
    assert moved(image, 0, -1).flatten().tolist() == [1, 2, 1, 4, 5, 4, 7, 8, 7]
    assert torch.equal(moved(image, 0, 0), image)


def corner_reader(pool: nn.Module) -> Classifier:
    """Answers `light` where the features, of which the last pixel is one, are light on the whole."""
    body = nn.Sequential(pool, nn.Flatten())
    classifier = Classifier(body, 3, ("dark", "light"), {"all": ("0", "1")}, InputSpec(4, (0.5,) * 3, (1.0,) * 3))  # type: ignore[arg-type]
    classifier.set_head(torch.tensor([[-1.0] * 3, [1.0] * 3]), torch.tensor([-0.5, 0.5]))
    return classifier


def test_a_network_that_pools_everything_bears_a_shift_and_one_that_reads_a_pixel_does_not() -> None:
    pixels = np.zeros((1, 3, 4, 4), np.uint8)
    pixels[0, :, 3, 3] = 255  # one light pixel, in the last corner
    images = Images.from_pixels(pixels, [1], ("dark", "light"))

    last_pixel = nn.Sequential(nn.ZeroPad2d((-3, 0, -3, 0)))
    pooled, read = (
        shifts(corner_reader(pool), images, torch.device("cpu"), 1) for pool in (nn.AdaptiveMaxPool2d(1), last_pixel)
    )

    assert [row.consistency for row in read] == [1.0, 0.0]  # moved away in all four directions, mirror included
    assert [row.accuracy for row in read] == [1.0, 0.0]
    # down and right the pixel leaves the image; up and left it stays in sight
    assert [row.consistency for row in pooled] == [1.0, 0.5]


def test_a_shift_as_large_as_the_image_is_refused() -> None:
    images = Images.from_pixels(np.zeros((1, 3, 4, 4), np.uint8), [1], ("dark", "light"))

    with pytest.raises(TransferkitError, match=r"Images of 4 px cannot move by 4 px. Use a smaller --px"):
        shifts(corner_reader(nn.AdaptiveMaxPool2d(1)), images, torch.device("cpu"), 4)
