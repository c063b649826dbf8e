"""A network, images and settings that train in a moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.data.images import Images
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.recipe import FinetuneSettings
from transferkit.runtime import machine

NEUTRAL = {  # every key that a training needs and a test says nothing about
    "optimizer": "sgd",
    "momentum": 0.9,
    "schedule": "cosine",
    "warmup": 0.0,
    "shift": 0.125,
    "norm_bias_lr": 1.0,
    "clip_norm": 0.0,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "freeze_after": {},
    "lookahead": False,
    "ema": False,
    "flip": False,
    "alternating_flip": False,
    "test_flip": False,
    "test_shifts": False,
}

MACHINE = machine.Runtime(torch.device("cpu"), "fp32", torch.get_num_threads())


class Body(nn.Module):
    """Three stages: a convolution with BatchNorm, a second one, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.dense = nn.Linear(8, 6)

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.middle(self.stem(images)).mean((2, 3))
        dense: Tensor = self.dense(pooled)
        return dense


def classifier(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    spec = InputSpec(8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    stages = {"stem": ("stem",), "middle": ("middle",), "dense": ("dense",)}
    return Classifier(Body(), 6, ("dark", "light"), stages, spec)


def images(count: int = 48, seed: int = 0) -> Images:
    """Dark and light noise: easy to tell apart."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = generator.integers(0, 100, (count, 3, 8, 8)) + 120 * labels[:, None, None, None]
    return Images.from_pixels(pixels.astype(np.uint8), labels, ("dark", "light"))


def settings(**changes: Any) -> FinetuneSettings:
    values = {
        "epochs": 3,
        "batch_size": 16,
        "lr": 0.02,
        "head_lr": 0.1,
        "weight_decay": 0.0,
        "flip": True,
        "layer_decay": 1.0,
    }
    return FinetuneSettings(name="finetune", **{**NEUTRAL, **values, **changes})
