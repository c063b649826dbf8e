"""Cheap adapters: what is trained, what stays bit for bit, and the file of the change."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import transferkit
from transferkit.models import backbones
from transferkit.models.adapters import biases, merge, norms
from transferkit.models.classifier import Classifier
from transferkit.recipe import backbone_settings, parse
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError

PX = 16
FEW: dict[str, Any] = {"epochs": 1, "limit_per_class": 16, "test_fraction": 0.05, "batch_size": 32, "quiet": True}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    depthwise = nn.Conv2d(4, 4, 3, groups=4)
    return nn.Sequential(nn.Conv2d(3, 4, 7), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), depthwise, nn.Linear(4, 5))


def pretrained(tmp_path: Path) -> Path:
    """A run whose weights the adapters start from."""
    folder = tmp_path / "pretrained"
    transferkit.scratch("resnet-mini", "digits", size=PX, out=folder, **FEW)
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("start"))


Adapted = Callable[[str], transferkit.TrainedRun]


@pytest.fixture(scope="module")
def adapted(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    """The run that trains an adapter from these weights, made when it is first asked for."""

    @cache
    def run(train: str) -> transferkit.TrainedRun:
        options: dict[str, Any] = {"weights": str(start), "refit": False, "precision": "fp32", **FEW}
        out = tmp_path_factory.mktemp("adapted") / train
        return transferkit.finetune("resnet-mini", "digits", train=train, out=out, **options)

    return run


def fresh(start: Path) -> Classifier:
    settings = backbone_settings({"name": "resnet-mini", "weights": str(start)})
    return backbones.load(settings, tuple("0123456789"), PX, SILENT).eval()


def test_each_adapter_trains_its_own_tensors() -> None:
    assert biases(network()) == {"0.bias", "1.bias", "2.bias", "3.bias", "4.bias"}
    assert norms(network()) == {f"1.{name}" for name in network()[1].state_dict()}


@pytest.mark.slow
@pytest.mark.parametrize("train", ["bias", "norm"])
def test_the_file_of_the_change_makes_the_adapted_network_of_the_pretrained_one(
    train: str, start: Path, adapted: Adapted
) -> None:
    run = adapted(train)
    images = torch.randint(0, 256, (8, 3, PX, PX), dtype=torch.uint8)

    merged, result = merge(fresh(start), run.path / "adapter.safetensors"), load_classifier(run.folder).eval()

    with torch.no_grad():
        assert float((merged(images) - result(images)).abs().max()) <= 1e-5 * float(result(images).abs().max())
        assert not torch.allclose(fresh(start).features(images), result.features(images))
    assert (run.path / "adapter.safetensors").stat().st_size < 0.1 * (run.path / "model.safetensors").stat().st_size


@pytest.mark.parametrize(("train", "may_change"), [("bias", biases), ("norm", norms)])
def test_everything_else_stays_bit_for_bit_buffers_included(
    train: str, may_change: object, start: Path, adapted: Adapted
) -> None:
    assert callable(may_change)
    run = adapted(train)
    before, after = fresh(start).body.state_dict(), load_classifier(run.folder).body.state_dict()

    changed = {name for name in before if not torch.equal(before[name], after[name])}

    assert changed
    assert changed <= may_change(fresh(start).body)


def test_a_change_of_another_network_is_refused(adapted: Adapted) -> None:
    run = adapted("bias")
    other = backbones.load(backbone_settings({"name": "resnet20", "weights": "none"}), ("a", "b"), 32, SILENT)

    with pytest.raises(TransferkitError, match=r"changes body\..* which this resnet20 does not have"):
        merge(other, run.path / "adapter.safetensors")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train": "lora:8"}, "method.train"),
        ({"train": "bias", "batchnorm": "train"}, "train bias does not go with batchnorm train"),
    ],
)
def test_what_does_not_go_with_an_adapter_is_said(keys: dict[str, object], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        parse({"data": "digits", "backbone": "resnet20", "method": {"name": "finetune", **keys}})


def test_the_trained_numbers_are_those_of_the_adapter_and_the_head(adapted: Adapted) -> None:
    run = adapted("bias")
    stem, head = run.facts.parameter_groups[0], run.facts.parameter_groups[-1]

    assert (stem.trained, head.trained) == (32, None)  # the bias of BatchNorm; its convolution has none
    assert run.facts.trained_parameters == sum(
        group.trained or group.parameters for group in run.facts.parameter_groups
    )
