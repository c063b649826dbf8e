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
from transferkit.recipe import backbone_settings
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT

FIRST_IMAGES = 16  # of the batch that warms up and tells how long a batch of the run's own size would take
LONGEST_SECONDS = 3.0  # of a timed batch; above, networks are so large that the first batch tells the same per image
CLASSES = 10  # of the timed head; its size hardly matters


@lru_cache(maxsize=32)
def timed_network(
    backbone: str, size: int, side: int, batch_size: int, runtime: machine.Runtime
) -> tuple[float, float, int]:
    """Seconds of a forward pass and of a training step per image, and the number of parameters, without weights."""
    settings = backbone_settings({**json.loads(backbone), "weights": "none"})
    names = [str(label) for label in range(CLASSES)]
    classifier = backbones.load(settings, names, size, SILENT)
    classifier.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward, step = seconds_per_image(classifier, side, batch_size, runtime)
    return forward, step, sum(parameter.numel() for parameter in classifier.parameters())


def seconds_per_image(
    classifier: Classifier, side: int, batch_size: int, runtime: machine.Runtime
) -> tuple[float, float]:
    """Seconds of a forward pass and of a whole training step, per image, in batches of the run's own size.

    In batches of 16 a step of ResNet-18 at 64 px took 1.7 times as long per image as in batches of 64, channels last.
    """
    fast = FastClassifier(classifier, runtime, SILENT)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.0, momentum=0.9)

    def step(images: Tensor) -> None:
        with runtime.autocast():
            loss = classifier.train()(images).float().logsumexp(1).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def timed(work: Callable[[Tensor], object]) -> float:
        return _seconds_per_image(
            work, partial(_noise, classifier=classifier, side=side, runtime=runtime), batch_size, runtime
        )

    return timed(fast), timed(step)


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
