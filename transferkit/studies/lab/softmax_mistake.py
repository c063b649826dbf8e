"""The softmax before the loss, made on purpose: what the check says, and what it costs where nobody checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferkit.data import datasets
from transferkit.metrics.statistics import wilson
from transferkit.models.logit_checks import activation, loss_floor
from transferkit.recipe import from_options
from transferkit.report.matplotlib_figures import HIT, MISS, SOFT, drawn_to
from transferkit.runtime.console import Console

BATCH = 64
LR, MOMENTUM = 0.05, 0.9


class Net(nn.Module):
    """A network as students write it; with the mistake, its answers are probabilities."""

    def __init__(self, num_classes: int, *, has_softmax: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(128, num_classes)),
        )
        self.has_softmax = has_softmax

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, C)."""
        logits: Tensor = self.layers(images)
        return logits.softmax(1) if self.has_softmax else logits


@dataclass(frozen=True)
class TrainedNetwork:
    """One network, trained: the mean loss of each epoch, and how many val images it then gets right, of n."""

    losses: tuple[float, ...]
    right: int
    n: int

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return self.right / self.n

    @property
    def in_words(self) -> str:
        """Accuracy with its 95 % interval."""
        interval = wilson(self.right, self.n)
        bounds = f"{100 * interval.low:.1f}-{100 * interval.high:.1f}"
        return f"{100 * self.accuracy:.1f} % of {self.n} val images (95 %: {bounds})"


@dataclass(frozen=True)
class SoftmaxMistake:
    """The same network twice, from the same weights, with the same batches.

    Attributes:
        data: Name of the data set.
        classes: How many.
        floor: The lowest loss that is possible behind a second softmax: ln(1 + (C - 1) / e).
        refusal: What the check says of the network with the mistake.
        logits: Trained as it should be.
        softmax: Trained with a softmax before the loss.
    """

    data: str
    classes: int
    floor: float
    refusal: str
    logits: TrainedNetwork
    softmax: TrainedNetwork

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was seen."""
        return (
            f"The check, as finetune(Net()) makes it: {self.refusal}",
            f"Forced all the same: last loss {self.softmax.losses[-1]:.3f}, accuracy {self.softmax.in_words}.",
            f"With logits: last loss {self.logits.losses[-1]:.3f}, accuracy {self.logits.in_words}.",
        )


def compare(data: str, epochs: int, seed: int, console: Console) -> SoftmaxMistake:
    """Train the network with and without the mistake; val judges, and test stays sealed."""
    keys = ("data.val_fraction=0.5",)
    splits = datasets.load(
        from_options("scratch", "simple-cnn", data, {}, keys, "transferkit lab softmax").data, console
    )
    images, labels = as_tensors(splits.train)
    val = as_tensors(splits.val)
    classes = len(splits.class_names)
    trainings = [trained(images, labels, val, classes, epochs, seed, has_softmax=wrong) for wrong in (False, True)]
    refusal = activation(Net(classes, has_softmax=True)(images[:BATCH]).detach())
    return SoftmaxMistake(data, classes, loss_floor(classes), refusal, *trainings)


def as_tensors(images: Any) -> tuple[Tensor, Tensor]:
    """Pixels in [0, 1] and labels."""
    return torch.from_numpy(images.pixels[:]).float() / 255, torch.from_numpy(images.require_labels())


def trained(
    images: Tensor,
    labels: Tensor,
    val: tuple[Tensor, Tensor],
    classes: int,
    epochs: int,
    seed: int,
    *,
    has_softmax: bool,
) -> TrainedNetwork:
    """Plain SGD on the cross-entropy of whatever the network returns."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Net(classes, has_softmax=has_softmax)
        optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM)
        losses = tuple(epoch(network, optimizer, images, labels) for _ in range(epochs))
    with torch.no_grad():
        right = int((network(val[0]).argmax(1) == val[1]).sum())
    return TrainedNetwork(losses, right, len(val[1]))


def epoch(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    """Train in place on every image once; the mean loss."""
    total = 0.0
    for chosen in torch.split(torch.randperm(len(images)), BATCH):
        loss = F.cross_entropy(network(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach()) * len(chosen)
    return total / len(images)


def draw(result: SoftmaxMistake, path: Path) -> None:
    """Draw both loss curves and the floor; the suffix decides the format."""
    drawn_to(path, lambda: figure(result))


def figure(result: SoftmaxMistake) -> Any:
    """Loss over epochs."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(5, 3), layout="constrained")
    axes = drawing.subplots()
    epochs = range(1, len(result.logits.losses) + 1)
    axes.plot(epochs, result.softmax.losses, color=MISS, label="softmax before the loss")
    axes.plot(epochs, result.logits.losses, color=HIT, label="logits")
    axes.axhline(result.floor, color=SOFT, linestyle=":", label=f"ln(1 + {result.classes - 1}/e) = {result.floor:.3f}")
    axes.set(xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
    axes.legend(frameon=False)
    return drawing
