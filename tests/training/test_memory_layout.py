"""The memory layout of training: channels first for dense convolutions onto small maps in fp32 on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import transferkit
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.runtime.machine import Runtime
from transferkit.training import memory_layout
from transferkit.training.memory_layout import laid_out, works_on_small_maps

FP32, BF16 = (Runtime(torch.device("cpu"), precision, 1) for precision in ("fp32", "bf16"))


def classifier(*convolutions: nn.Module, side: int = 8) -> Classifier:
    body = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(body, 4, ("a", "b"), {}, InputSpec(side, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


@pytest.mark.parametrize(
    ("convolutions", "side", "is_small"),
    [
        ([nn.Conv2d(3, 4, 3, padding=1)], 8, True),
        ([nn.Conv2d(3, 4, 3, padding=1)], 9, False),
        ([nn.Conv2d(3, 4, 3, padding=1, stride=2)], 16, True),
        ([nn.Conv2d(3, 4, 1)], 8, False),
        ([nn.Conv2d(3, 6, 3, padding=1, groups=3), nn.Conv2d(6, 4, 1)], 8, False),
        ([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 1, (1, 3), padding=(0, 1)), nn.Conv2d(1, 4, 1)], 8, False),  # 9 of 22
        ([nn.Conv2d(3, 3, (1, 3), padding=(0, 1)), nn.Conv2d(3, 4, 1)], 8, True),  # 27 of 39 multiply-adds a place
        ([nn.Flatten(2), nn.Unflatten(2, (8, 8))], 8, False),  # no convolution at all
    ],
)
def test_most_multiply_adds_must_be_dense_wide_convolutions_onto_at_most_64_places(
    convolutions: list[nn.Module], side: int, is_small: bool
) -> None:
    assert works_on_small_maps(classifier(*convolutions, side=side)) is is_small


@pytest.mark.parametrize(
    ("runtime", "side", "layout"),
    [
        (FP32, 8, torch.contiguous_format),
        (FP32, 32, torch.channels_last),
        (BF16, 8, torch.channels_last),
    ],
)
def test_weights_and_images_of_training_lie_alike(runtime: Runtime, side: int, layout: torch.memory_format) -> None:
    made = laid_out(classifier(nn.Conv2d(3, 4, 3, padding=1), side=side), runtime).train()
    convolution = made.body[0]
    assert isinstance(convolution, nn.Conv2d)

    prepared = made.prepare(torch.zeros(2, 3, side, side, dtype=torch.uint8))

    for lies in (convolution.weight, prepared):
        assert lies.is_contiguous(memory_format=layout)
        assert lies.is_contiguous() is (layout == torch.contiguous_format)


def test_counting_leaves_mode_and_statistics_as_they_are() -> None:
    norm = nn.BatchNorm2d(4)
    made = classifier(nn.Conv2d(3, 4, 3, padding=1), norm).train()

    works_on_small_maps(made)

    assert made.training
    assert norm.training
    assert norm.num_batches_tracked == 0
    assert not any(module._forward_hooks for module in made.modules())


def test_both_layouts_train_the_same_model_up_to_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"weights": "none", "size": 8, "epochs": 2, "limit_per_class": 5, "device": "cpu", "precision": "fp32"}
    weights = []
    for is_first in (True, False):
        monkeypatch.setattr(memory_layout, "works_on_small_maps", lambda _, is_first=is_first: is_first)
        run = transferkit.scratch("resnet-mini", "digits", out=tmp_path / str(is_first), quiet=True, **options)
        weights.append(load_file(run.path / "model.safetensors"))

    first, last = weights
    assert all(first[name].numpy() == pytest.approx(last[name].numpy(), abs=1e-4) for name in last)
