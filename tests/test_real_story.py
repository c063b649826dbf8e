"""The main job on real images with real pretrained weights."""

from __future__ import annotations

from pathlib import Path

import pytest

import transferkit
from transferkit.runs.facts import ImageCounts
from transferkit.runs.run_directory import Run

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def options(real_data: Path) -> dict[str, object]:
    weights = real_data / "weights" / "resnet18-tiny-imagenet.safetensors"
    return {
        "data": f"folder:{real_data / 'cifar10'}",
        "weights": str(weights),
        "size": 64,
        "limit_per_class": 50,
        "quiet": True,
    }


@pytest.fixture(scope="module")
def probed(options: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return transferkit.probe("resnet18", out=tmp_path_factory.mktemp("runs") / "probe", **options)  # type: ignore[arg-type]


def test_a_probe_on_500_labels_reaches_the_reference(probed: Run) -> None:
    test = probed.evaluation.test

    # an independent script reached 59.7 % with 500 labels (n = 10,000); two points are two standard errors of both
    assert test.n == 10_000
    assert test.accuracy > 0.577


def test_fine_tuning_adds_to_the_probe(probed: Run, options: dict[str, object], tmp_path: Path) -> None:
    tuned = transferkit.finetune("resnet18", out=tmp_path / "tuned", epochs=10, lr=0.04, **options)  # type: ignore[arg-type]

    # the same script gained 4.7 points by ten epochs of LP-FT; a batch of 32 makes this a rate of 0.01
    assert tuned.evaluation.test.accuracy > probed.evaluation.test.accuracy + 0.02


def test_weights_and_data_are_named_in_the_run(probed: Run) -> None:
    weights = Run(probed.path).model.weights
    assert weights.source == "file"
    assert len(weights.sha256) == 64
    assert probed.facts.data.n == ImageCounts(train=450, val=50, test=10_000)
