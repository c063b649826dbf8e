"""Images of five bands at every place that takes images: they work, or one sentence says why not."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import transferkit
from transferkit.cli.app import app
from transferkit.data import datasets
from transferkit.data.images import Images
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.extraction.streaming import extract
from transferkit.models import backbones
from transferkit.recipe import ArraysData, BackboneSettings
from transferkit.runs.run_directory import open_run
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.limits import nonsense
from transferkit.studies.limits.shares import NotMeasured

SMALL: dict[str, Any] = {"size": 16, "weights": "none", "stem": "cifar", "device": "cpu", "precision": "fp32"}
ON_CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}
TRAINED = "Expected uint8 images of red, green and blue, since FeatureExtractor learns nothing"


def scenes() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (40, 16, 16, 5) whose fourth band tells the class, and labels."""
    pixels = np.random.default_rng(0).integers(0, 200, (40, 16, 16, 5), dtype=np.uint8)
    labels = np.arange(40) % 2
    pixels[..., 3] = (pixels[..., 3] // 4 + 150 * labels[:, None, None]).astype(np.uint8)
    return pixels, np.where(labels, "water", "town")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("five") / "run"
    transferkit.probe("resnet-mini", scenes(), out=folder, quiet=True, **SMALL)
    return folder


def test_arrays_of_five_bands_train_a_network_that_has_five(trained: Path) -> None:
    assert len(open_run(trained).model.input.mean) == 5


def test_the_bands_of_an_array_may_come_first_or_last(trained: Path) -> None:
    pixels, model = scenes()[0][:3], transferkit.load(trained)

    last = model.predict(pixels)

    assert [found.name for found in last] == ["town", "water", "town"]
    for other in (pixels.transpose(0, 3, 1, 2), list(pixels)):
        assert [found.probabilities for found in model.predict(other)] == [found.probabilities for found in last]
    assert model.predict(pixels[1])[0].name == "water"


def test_a_file_is_seen_as_its_array_is(trained: Path, tmp_path: Path) -> None:
    pixels, model = scenes()[0], transferkit.load(trained)
    np.save(tmp_path / "scene.npy", pixels[0])

    assert model.predict(tmp_path / "scene.npy")[0].score == pytest.approx(model.predict(pixels[:1])[0].score)


def test_other_bands_than_the_runs_are_refused(trained: Path) -> None:
    colour = scenes()[0][..., :3]

    with pytest.raises(TransferkitError, match=r"\(N, H, W, 5\) or \(N, 5, H, W\); found uint8 \(40, 16, 16, 3\)"):
        transferkit.load(trained).predict(colour)


@pytest.mark.slow
def test_the_command_says_of_a_file_of_other_bands_how_many_the_run_has(trained: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "colour.png")

    result = CliRunner().invoke(app, ["predict", str(trained), str(tmp_path / "colour.png")])

    assert "colour.png has 3 bands, and the run has learnt from 5. Give it files with as many" in result.output


def test_limits_leaves_out_corruptions_alone(trained: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for number, image in enumerate(np.random.default_rng(1).integers(0, 256, (4, 16, 16, 5), np.uint8)):
        np.save(odd / f"{number}.npy", image)

    report = transferkit.limits(trained, ood=str(odd), leave_out="none", out=tmp_path / "limits", quiet=True)

    assert report.corruptions == NotMeasured("they are defined for red, green and blue, and the images have 5 bands")
    assert (report.unknown.sets[0].n, report.nuisance is not None) == (4, True)
    assert all(row.n for row in report.nonsense)


@pytest.mark.parametrize(("bands", "colours"), [(1, 3), (2, 9), (3, 27), (5, 27)])
def test_meaningless_images_have_the_bands_of_the_runs(bands: int, colours: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, bands, 16, 16), np.uint8)

    sets = nonsense.image_sets(Images.from_pixels(pixels, None, ()), n=6)

    assert {images.bands for images in sets.values()} == {bands}
    assert len(sets["constant_colours"]) == colours


def test_limits_refuses_a_set_of_other_bands(trained: Path) -> None:
    with pytest.raises(TransferkitError, match="digits has images of 3 bands, and the run takes 5"):
        transferkit.limits(trained, ood="digits", quiet=True)


def test_labels_judges_images_of_other_bands(trained: Path) -> None:
    checked = transferkit.labels(trained, quiet=True)

    assert checked.train.n == len(open_run(trained).outputs("bank"))


def test_a_feature_extractor_refuses_arrays_and_files(tmp_path: Path) -> None:
    extractor = transferkit.FeatureExtractor("resnet-mini", weights="none", size=16, store=False)
    np.save(tmp_path / "scene.npy", scenes()[0][0])

    with pytest.raises(TransferkitError, match=rf"{TRAINED}.* found uint8 \(40, 16, 16, 5\)"):
        extractor.transform(scenes()[0])
    with pytest.raises(TransferkitError, match=rf"{TRAINED}.* found 5 bands in .*scene.npy"):
        extractor.transform(tmp_path)


def test_a_feature_extractor_of_a_run_sees_what_the_run_saw(trained: Path, tmp_path: Path) -> None:
    extractor = transferkit.FeatureExtractor("resnet-mini", weights=str(trained), store=False, **ON_CPU)
    test = open_run(trained).outputs("test")
    pixels = scenes()[0]
    np.save(tmp_path / "scene.npy", pixels[int(test.ids[0].rpartition("/")[2])])

    features = extractor.transform(pixels)

    of_test = features[[int(name.rpartition("/")[2]) for name in test.ids]]
    np.testing.assert_allclose(of_test, test.features, atol=1e-5)
    np.testing.assert_allclose(extractor.transform(pixels.transpose(0, 3, 1, 2)), features, atol=1e-6)
    np.testing.assert_allclose(extractor.transform(tmp_path)[0], test.features[0], atol=1e-5)


def test_a_feature_extractor_adapts_a_backbone_to_as_many_bands_as_mean_and_std_have() -> None:
    pixels = scenes()[0][:2]
    five = transferkit.FeatureExtractor(
        "resnet-mini", weights="none", size=16, store=False, mean=[0.4] * 5, std=[0.2] * 5, **ON_CPU
    )

    assert five.transform(pixels).shape == (2, 128)
    with pytest.raises(TransferkitError, match=r"Expected images of 5 bands, .* found uint8 \(2, 16, 16, 3\)"):
        five.transform(pixels[..., :3])


@pytest.mark.parametrize(
    ("mean", "std"), [([0.5] * 5, None), ([0.5] * 5, [0.2] * 4), ([0.5], [0.0]), (["a"], [1.0]), ([], []), (0.5, 0.2)]
)
def test_mean_and_std_come_together_for_each_band(mean: Any, std: Any) -> None:
    extractor = transferkit.FeatureExtractor("resnet-mini", weights="none", size=16, mean=mean, std=std)

    with pytest.raises(TransferkitError, match="mean and std are given together, a number for each band"):
        extractor.transform(scenes()[0])


def test_extract_reads_all_bands_for_the_weights_of_such_a_run(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    folder.mkdir()
    np.save(folder / "a.npy", scenes()[0][0])
    settings = ExtractSettings("resnet-mini", weights=str(trained), device="cpu", precision="fp32")

    features = np.load(extract(settings, str(folder), tmp_path / "out.npy", SILENT))

    extractor = transferkit.FeatureExtractor("resnet-mini", weights=str(trained), store=False, **ON_CPU)
    np.testing.assert_allclose(features, extractor.transform(scenes()[0][:1]), atol=1e-5)


def test_a_run_may_start_from_one_of_as_many_bands(trained: Path, tmp_path: Path) -> None:
    options = {**SMALL, "weights": str(trained), "stem": "auto"}

    run = transferkit.probe("resnet-mini", scenes(), out=tmp_path / "next", quiet=True, **options)

    assert open_run(run.path).model.input.mean == open_run(trained).model.input.mean


def test_a_fitted_estimator_keeps_its_bands_in_a_pickle() -> None:
    pixels, labels = scenes()
    estimator = transferkit.TransferClassifier("resnet-mini", **SMALL).fit(pixels, labels)

    again = pickle.loads(pickle.dumps(estimator))

    np.testing.assert_allclose(again.predict_proba(pixels), estimator.predict_proba(pixels), atol=1e-5)


def load(path: Path, **arrays: Any) -> Images:
    np.savez(path, **arrays)
    return datasets.load(ArraysData(name="arrays", path=path), SILENT).train


def test_an_npz_file_may_hold_bands_first_or_last(tmp_path: Path) -> None:
    pixels, labels = scenes()

    last = load(tmp_path / "last.npz", images=pixels, labels=labels)
    first = load(tmp_path / "first.npz", images=pixels.transpose(0, 3, 1, 2), labels=labels)

    assert last.bands == 5
    assert last.fingerprint == first.fingerprint


def test_a_volume_is_no_image_of_many_bands(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"images of shape \(4, 16, 16, 16\)\. .* fewer than there are pixels"):
        load(tmp_path / "volumes.npz", images=np.zeros((4, 16, 16, 16), np.uint8), labels=np.arange(4) % 2)


def test_parts_of_different_bands_are_refused(tmp_path: Path) -> None:
    pixels, labels = scenes()
    parts = {"train_images": pixels, "train_labels": labels, "test_images": pixels[..., :3], "test_labels": labels}

    with pytest.raises(TransferkitError, match=r"images of different bands: 5 in train, 3 in test"):
        load(tmp_path / "parts.npz", **parts)


def test_a_network_is_loaded_for_the_bands_of_its_images() -> None:
    images = Images.from_pixels(scenes()[0].transpose(0, 3, 1, 2), None, ("town", "water"))

    classifier = backbones.load_for(BackboneSettings(name="resnet-mini", weights="none"), images, 16, SILENT)

    assert classifier.input_spec.mean == pytest.approx(images.band_statistics()[0])
