"""Images of other bands than red, green and blue, from file to prediction and export."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import transferkit
from transferkit.data.augmentation import BatchDraws, augment
from transferkit.data.datasets.folder_depth import seen_reading
from transferkit.data.decoding import decode
from transferkit.data.images import Images, first_three
from transferkit.data.reading import Reading
from transferkit.deploy.export.answering import images_in_words
from transferkit.deploy.prediction import load
from transferkit.models.bands import adapt_stem, adapted_weight
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec, WeightsRecord
from transferkit.recipe import FolderData
from transferkit.runtime.errors import TransferkitError

PRETRAINED = WeightsRecord("file", "somewhere")


def saved(path: Path, array: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return str(path)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def test_grey_in_one_band_gives_what_grey_repeated_three_times_gave() -> None:
    spec = InputSpec(16, (0.5,) * 3, (0.25,) * 3)
    classifier = Classifier(small_network(), 8, ("a", "b"), {"stem": ("0",)}, spec, PRETRAINED).eval()
    grey = torch.randint(0, 256, (4, 1, 20, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = classifier(grey.repeat(1, 3, 1, 1))

    classifier.adapt_to_bands((0.5,), (0.25,))

    torch.testing.assert_close(classifier(grey), expected, atol=1e-4, rtol=0)


def test_a_real_network_adapted_to_grey_is_itself_on_grey() -> None:
    from transferkit.models.creation import create

    body = create("resnet18", ("a", "b"), 32, weights="none").body.eval()
    grey = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = body(grey.repeat(1, 3, 1, 1))
        adapt_stem(body, 1, pretrained=True)

        torch.testing.assert_close(body(grey), expected, atol=1e-4, rtol=1e-4)


def test_four_bands_repeat_the_weights_scaled_by_three_quarters() -> None:
    weight = torch.tensor([4.0, 8.0, 12.0]).view(1, 3, 1, 1)

    assert adapted_weight(weight, 4).flatten().tolist() == [3.0, 6.0, 9.0, 3.0]


def test_random_weights_are_drawn_anew_so_that_no_two_bands_share_them() -> None:
    body = small_network()

    adapt_stem(body, 6, pretrained=False)

    stem = body[0]
    assert isinstance(stem, nn.Conv2d)
    assert not torch.equal(stem.weight[:, :3], stem.weight[:, 3:])


def test_a_network_without_a_stem_of_three_bands_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"no first convolution of three bands .* as resnet18"):
        adapt_stem(nn.Sequential(nn.Flatten()), 5, pretrained=True)


def test_mean_and_deviation_of_each_band_are_those_of_train() -> None:
    pixels = np.zeros((2, 2, 1, 2), np.uint8)
    pixels[:, 0] = [0, 255]
    pixels[:, 1] = 51

    mean, deviation = Images.from_pixels(pixels, [0, 1], ("a", "b")).band_statistics()

    assert mean == pytest.approx([0.5, 0.2])
    assert deviation == pytest.approx([0.5, 1.0])  # what never changes is divided by 1


def test_pages_show_the_first_three_bands() -> None:
    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1, 1)

    assert first_three(pixels).flatten().tolist() == [0, 1, 2]
    assert first_three(pixels[:2]).flatten().tolist() == [0, 0, 0]


def test_bands_of_an_array_are_its_last_axis(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", np.arange(16, dtype=np.uint8).reshape(2, 2, 4))

    assert decode(path, 2, Reading(channels=4))[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_an_array_of_other_bands_than_asked_for_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", np.zeros((2, 2, 4), np.uint8))

    with pytest.raises(TransferkitError, match=r"a.npy: 4 bands, and data.channels is 5"):
        decode(path, 2, Reading(channels=5))


def test_an_array_of_python_objects_is_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)

    with pytest.raises(TransferkitError, match=r"Object arrays cannot be loaded when allow_pickle=False"):
        decode(tmp_path / "a.npy", 2, "squash")


def test_files_of_different_bands_are_refused(tmp_path: Path) -> None:
    files = [saved(tmp_path / f"{bands}.npy", np.zeros((2, 2, bands), np.uint8)) for bands in (4, 5)]

    with pytest.raises(TransferkitError, match=r"Some images have 4, 5 bands. Expected as many in every file."):
        seen_reading(files, FolderData(name="folder", path=tmp_path))


def test_augmentations_of_colours_are_refused_where_there_are_none() -> None:
    images = torch.zeros(1, 13, 8, 8, dtype=torch.uint8)
    draws = BatchDraws(0, 0, 0, 1, images.device)

    with pytest.raises(TransferkitError, match=r"colour changes colours, and these images have 13 bands"):
        augment(images, {"rotation": 15, "colour": 0.4}, draws)
    assert augment(images, {"rotation": 15}, draws).shape == images.shape


@pytest.mark.skipif(importlib.util.find_spec("tifffile") is None, reason="needs tifffile")
def test_a_tiff_of_thirteen_bands_is_read(tmp_path: Path) -> None:
    import tifffile

    bands = np.arange(13, dtype=np.uint8) * np.ones((2, 2, 1), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")

    reading, *_ = seen_reading([str(tmp_path / "a.tif")], FolderData(name="folder", path=tmp_path))

    assert reading.channels == 13
    assert decode(tmp_path / "a.tif", 2, reading)[:, 0, 0].tolist() == list(range(13))


@pytest.mark.slow
def test_an_export_says_how_many_bands_it_takes() -> None:
    spec = SimpleNamespace(mean=(0.5,) * 13), SimpleNamespace(mean=(0.5,) * 3)
    words = [images_in_words(SimpleNamespace(input_spec=each)) for each in spec]  # type: ignore[arg-type]

    assert words == [
        "(N, 13, H, W), the bands of the run's own images in their order, of any size",
        "(N, 3, H, W), RGB, of any size",
    ]


@pytest.mark.slow
def test_thirteen_bands_train_predict_and_export(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for label, name in enumerate(("town", "water")):
        for number in range(24):
            array = generator.integers(0, 3000, (16, 16, 13)).astype(np.uint16)
            array[..., 7 + label] += 1000  # a band beyond the first three tells the class
            saved(tmp_path / "data" / name / f"{number}.npy", array)
    backbone = {"size": 16, "weights": "none", "quiet": True, "stem": "cifar", "threads": 1, "device": "cpu"}

    run = transferkit.scratch("resnet-mini", f"folder:{tmp_path / 'data'}", out=tmp_path / "run", epochs=1, **backbone)

    assert len(run.folder.model.input.mean) == 13
    picture = tmp_path / "data" / "town" / "0.npy"
    (prediction,) = load(run.folder).predict(str(picture))
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert transferkit.export(run.folder).exists()  # run beside the classifier on random images before it is kept
