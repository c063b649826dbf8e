"""The rivals: a plain PyTorch loop whose rate is chosen on val, and fastai's schedule; neither uses transferkit.

Raise a rival's VERSION when its numbers change: what the cache holds of earlier versions is then measured again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finetuning.images import Arithmetic, Labelled, augmented
from finetuning.networks import BACKBONES, Network, layer_groups, pretrained
from finetuning.settings import Setting
from finetuning.targets import Task

VERSIONS = {"plain": "1", "fastai": "1"}
VAL_SHARE = 0.2  # of the labels, while the plain loop's rate is chosen
PLAIN_DECAY, MOMENTUM, HEAD_FACTOR = 5e-4, 0.9, 10
FASTAI_BATCH, FASTAI_RATE, FASTAI_DECAY, FASTAI_EPS, FASTAI_SQUARES = 64, 2e-3, 0.01, 1e-5, 0.99
EVALUATION_BATCH = 250


@dataclass(frozen=True)
class Trial:
    """What an arm leaves: which test images it got right, and what it took.

    Attributes:
        correct: (N,) in the order of the test images.
        seconds: Of training, choosing included, and of the last training alone.
        facts: What it chose, for the record.
    """

    correct: npt.NDArray[np.bool_]
    seconds: dict[str, float]
    facts: dict[str, Any]


def plain(task: Task, setting: Setting, seed: int, weights: Path, on: Arithmetic) -> Trial:
    """The loop that everyone writes; its rate is chosen from three on val, then it learns from all labels at it."""
    started = time.perf_counter()
    train, val = carve(task.train, VAL_SHARE, seed)
    judged = {}
    for rate in BACKBONES[setting.backbone].rates:
        network = plain_loop(train, setting, seed, rate, weights, on)
        judged[rate] = accuracy_and_loss(logits_of(network, val, on), val.labels)
    rate = max(judged, key=lambda one: (judged[one][0], -judged[one][1]))  # the higher accuracy, then the lower loss
    chosen = time.perf_counter()
    network = plain_loop(task.train, setting, seed, rate, weights, on)
    seconds = {"all": time.perf_counter() - started, "last": time.perf_counter() - chosen}
    val_accuracies = {str(one): round(accuracy, 4) for one, (accuracy, _) in judged.items()}
    return trial(network, task.test, on, seconds, {"rate": rate, "val_accuracies": val_accuracies})


def plain_loop(images: Labelled, setting: Setting, seed: int, rate: float, weights: Path, on: Arithmetic) -> Network:
    """SGD with momentum, one cycle, a random head with ten times the rate, mirrored and cropped images."""
    torch.manual_seed(seed)
    network = (
        pretrained(BACKBONES[setting.backbone], weights, len(images.classes), setting.size_px).to(on.device).train()
    )
    batch = 128 if len(images) >= 1_500 else 32
    groups = [{"params": network.body.parameters()}, {"params": network.head.parameters()}]
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, weight_decay=PLAIN_DECAY, fused=True)
    steps = setting.epochs * max(1, len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [rate, HEAD_FACTOR * rate], total_steps=steps)
    for inputs, labels in batches(images, batch, setting.epochs, on, flip=setting.flip):
        if not math.isfinite(gradient_step(network, inputs, labels, optimizer, on)):
            break  # diverged; val will not choose this rate
        schedule.step()
    return network


def fastai(task: Task, setting: Setting, seed: int, weights: Path, on: Arithmetic) -> Trial:
    """fastai's `fine_tune(epochs)`: one epoch of the head alone, then all layers with rates that grow towards the head.

    Learner.fine_tune and fit_one_cycle of fastai 2.7 (Howard and Gugger 2020, arXiv:2002.04688), with its optimiser
    (Adam, decoupled decay, none on norms and biases), BatchNorm trained throughout, batches of 64. Its head of two
    layers is not rebuilt: the head is linear, as in the other arms.
    """
    started = time.perf_counter()
    torch.manual_seed(seed)
    network = (
        pretrained(BACKBONES[setting.backbone], weights, len(task.train.classes), setting.size_px).to(on.device).train()
    )
    late = BACKBONES[setting.backbone].late
    set_frozen(network, frozen=True)
    frozen_rates = (FASTAI_RATE / 10, FASTAI_RATE / 10, FASTAI_RATE)
    one_cycle(network, task.train, setting, Cycle(1, frozen_rates, 0.99, 25), late, on)
    set_frozen(network, frozen=False)
    top = FASTAI_RATE / 2
    rates = (top / 100, top / 10, top)  # slice(top / 100, top): even in the logarithm
    one_cycle(network, task.train, setting, Cycle(setting.epochs, rates, 0.3, 5), late, on)
    seconds = time.perf_counter() - started
    return trial(network, task.test, on, {"all": seconds, "last": seconds}, {"rate": top})


@dataclass(frozen=True)
class Cycle:
    """One of fastai's cycles: epochs, peak rates of the layer groups, share of rising steps, start = peak / div."""

    epochs: int
    rates: tuple[float, float, float]
    rising: float
    div: float

    def at(self, share: float) -> tuple[float, float]:
        """The rate as a share of its peak, and the momentum, after this share of the steps; both anneal by a cosine."""
        if share < self.rising:
            return cosine(1 / self.div, 1, share / self.rising), cosine(0.95, 0.85, share / self.rising)
        rest = (share - self.rising) / (1 - self.rising)
        return cosine(1, 1e-5, rest), cosine(0.85, 0.95, rest)


def cosine(start: float, end: float, share: float) -> float:
    """Half a cosine wave from start to end."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def set_frozen(network: Network, *, frozen: bool) -> None:
    """Freeze or wake the body; BatchNorm always learns, as with fastai's `train_bn`."""
    network.body.requires_grad_(not frozen)
    for module in network.body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(True)


def one_cycle(
    network: Network, images: Labelled, setting: Setting, cycle: Cycle, late: tuple[str, ...], on: Arithmetic
) -> None:
    """Train through one cycle, with a new optimiser."""
    batch = min(FASTAI_BATCH, len(images))
    groups = [
        {"params": part, "weight_decay": decay, "peak": peak}
        for members, peak in zip(layer_groups(network, late), cycle.rates, strict=True)
        for part, decay in zip(decayed_and_not(members), (FASTAI_DECAY, 0.0), strict=True)
        if part
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(MOMENTUM, FASTAI_SQUARES), eps=FASTAI_EPS, fused=True)
    steps = cycle.epochs * (len(images) // batch)
    for step, (inputs, labels) in enumerate(batches(images, batch, cycle.epochs, on, flip=setting.flip)):
        share, momentum = cycle.at(step / steps)
        for group in optimizer.param_groups:
            group["lr"], group["betas"] = share * group["peak"], (momentum, FASTAI_SQUARES)
        if not math.isfinite(gradient_step(network, inputs, labels, optimizer, on)):
            return


def decayed_and_not(parameters: list[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Matrices and kernels; norms and biases."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return [one for one in trained if one.ndim > 1], [one for one in trained if one.ndim <= 1]


# ------------------------------------------------------------------------------------------------------ what both use


def carve(images: Labelled, share: float, seed: int) -> tuple[Labelled, Labelled]:
    """Train and val, of every class the same share, at least one image each."""
    generator = np.random.default_rng(seed)
    is_val = np.zeros(len(images), dtype=bool)
    for label in range(len(images.classes)):
        rows = generator.permutation(np.flatnonzero(images.labels == label))
        is_val[rows[: max(1, round(share * len(rows)))]] = True
    return images.subset(np.flatnonzero(~is_val)), images.subset(np.flatnonzero(is_val))


def batches(images: Labelled, size: int, epochs: int, on: Arithmetic, *, flip: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, augmented batches of all epochs; a remainder is left out, as `drop_last` does."""
    pixels, labels = (torch.from_numpy(part).to(on.device) for part in (images.pixels, images.labels))
    for _ in range(epochs):
        order = torch.randperm(len(images)).to(on.device)
        for start in range(0, max(1, len(images) // size) * size, size):
            rows = order[start : start + size]
            yield augmented(pixels[rows], flip=flip), labels[rows]


def gradient_step(
    network: Network, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer, on: Arithmetic
) -> float:
    """One step; returns the loss."""
    with on.autocast():
        logits = network(images)
    loss = F.cross_entropy(logits.float(), labels)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def logits_of(network: Network, images: Labelled, on: Arithmetic) -> Tensor:
    """(N, C) in eval mode, in the order of the images."""
    network.eval()
    parts = torch.from_numpy(images.pixels).split(EVALUATION_BATCH)
    with torch.inference_mode(), on.autocast():
        return torch.cat([network(part.to(on.device)).float().cpu() for part in parts])


def accuracy_and_loss(logits: Tensor, labels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Of logits (N, C); a loss that is no number counts as infinite."""
    targets = torch.from_numpy(labels)
    loss = F.cross_entropy(logits, targets).item()
    accuracy = (logits.argmax(1) == targets).float().mean().item()
    return (accuracy, loss) if math.isfinite(loss) else (0.0, math.inf)


def trial(network: Network, test: Labelled, on: Arithmetic, seconds: dict[str, float], facts: dict[str, Any]) -> Trial:
    """What the trained network says of the test images, which are looked at here alone."""
    correct = (logits_of(network, test, on).argmax(1) == torch.from_numpy(test.labels)).numpy()
    return Trial(correct, {name: round(value, 1) for name, value in seconds.items()}, facts)
