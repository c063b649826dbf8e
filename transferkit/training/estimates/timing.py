"""How fast a network is on this machine, from one timed step; nothing is downloaded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from transferkit.features.fast_classifier import FastClassifier
from transferkit.features.layer_network import synchronise
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings, backbone_settings
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.torch_compiler import compiler_left_out, take_step
from transferkit.training.memory_layout import laid_out

FIRST_IMAGES = 16  # of the batch that warms up and tells how long a batch of the run's own size would take
LONGEST_SECONDS = 1.0  # of a timed batch; above, networks are so large that the first batch tells the same per image
NAMES = tuple("0123456789")  # of the timed head; its size hardly matters


@lru_cache(maxsize=32)
def forward_seconds(backbone: str, size: int, side: int, batch_size: int, runtime: machine.Runtime) -> float:
    """Seconds of a forward pass per image, in batches of this size."""
    classifier = undrawn_classifier(backbone, size, runtime)
    fast = FastClassifier(classifier, runtime, SILENT)
    return _seconds_per_image(
        fast, partial(_noise, classifier=classifier, side=side, runtime=runtime), batch_size, runtime
    )


@lru_cache(maxsize=32)
def step_seconds(backbone: str, size: int, side: int, batch_size: int, runtime: machine.Runtime) -> float:
    """Seconds of a whole training step per image, in batches of the run's own size.

    In batches of 16 a step of ResNet-18 at 64 px took 1.7 times as long per image as in batches of 64, channels last.
    """
    classifier = undrawn_classifier(backbone, size, runtime)
    with compiler_left_out():
        optimizer = torch.optim.SGD(classifier.parameters(), lr=0.0, momentum=0.9)

    def step(images: Tensor) -> None:
        with runtime.autocast_of_training():
            loss = classifier.train()(images).float().logsumexp(1).mean()
        loss.backward()
        take_step(optimizer)

    return _seconds_per_image(
        step, partial(_noise, classifier=classifier, side=side, runtime=runtime), batch_size, runtime
    )


@lru_cache(maxsize=32)
def parameters(backbone: str, size: int) -> int:
    """How many numbers the network has, its head for ten classes included."""
    return sum(parameter.numel() for parameter in backbones.load_undrawn(_settings(backbone), NAMES, size).parameters())


def undrawn_classifier(backbone: str, size: int, runtime: machine.Runtime) -> Classifier:
    """The network on the device, as a run lays it out."""
    return laid_out(backbones.load_undrawn(_settings(backbone), NAMES, size), runtime)


def _settings(backbone: str) -> BackboneSettings:
    return backbone_settings(json.loads(backbone))


def _noise(count: int, classifier: Classifier, side: int, runtime: machine.Runtime) -> Tensor:
    shape = (count, len(classifier.input_spec.mean), side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, device=runtime.device)


def _seconds_per_image(
    work: Callable[[Tensor], object], images: Callable[[int], Tensor], batch_size: int, runtime: machine.Runtime
) -> float:
    """Of a batch of the run's own size; of a smaller one where that would take too long."""
    first = images(min(FIRST_IMAGES, batch_size))
    _seconds(work, first, runtime)
    seconds = _seconds(work, first, runtime) / len(first)
    if batch_size <= len(first) or seconds * batch_size > LONGEST_SECONDS:
        return seconds
    whole = images(batch_size)
    _seconds(work, whole, runtime)
    return _seconds(work, whole, runtime) / batch_size


def _seconds(work: Callable[[Tensor], object], images: Tensor, runtime: machine.Runtime) -> float:
    started = time.perf_counter()
    work(images)
    synchronise(runtime.device)
    return time.perf_counter() - started
