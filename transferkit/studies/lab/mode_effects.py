"""What train mode does to a finished network: accuracy and spread with dropout or BatchNorm awake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from transferkit.data.batches import to_device
from transferkit.data.images import Images
from transferkit.metrics.statistics import wilson
from transferkit.models.classifier import Classifier
from transferkit.report.matplotlib_figures import HIT, MISS, SOFT, drawn_to
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.studies.lab.named_networks import run_on_val

Batch: TypeAlias = Literal["shuffled", "sorted"]
Labels: TypeAlias = npt.NDArray[np.int64]
Kinds: TypeAlias = tuple[type[nn.Module], ...]
Mode: TypeAlias = tuple[Kinds, Callable[[Labels], list[Labels]]]  # which layers are awake, and who shares a batch

BATCH = 64  # BatchNorm in train mode sees one batch at a time, so its size matters
KINDS: Mapping[str, Kinds] = {
    "eval": (),
    "dropout awake": (_DropoutNd,),
    "BatchNorm awake": (_BatchNorm,),
    "train": (_DropoutNd, _BatchNorm),
}


@dataclass(frozen=True)
class ModeEffect:
    """What a network says in one mode, over several passes over the same images in new orders.

    Attributes:
        mode: eval, dropout awake, BatchNorm awake, or train (both); with who shares a batch, where that is compared.
        n: Images.
        passes: Over all of them.
        accuracy: Mean over the passes.
        interval: Wilson's, 95 %, of that mean, over images.
        accuracy_sd: Standard deviation of the accuracy over passes.
        spread: Standard deviation over passes of the probability of eval mode's answer; mean over images.
        changing: Share of images whose predicted class is not the same in all passes.
    """

    mode: str
    n: int
    passes: int
    accuracy: float
    interval: tuple[float, float]
    accuracy_sd: float
    spread: float
    changing: float


def of_run(
    run: Path, passes: int, console: Console, device: str = "auto", batch: Batch = "shuffled"
) -> list[ModeEffect]:
    """The effects of the modes on a run's val images, or of batches of one class each; the test set stays sealed.

    Raises:
        TransferkitError: If there is no finished run, it has no val images, or neither dropout nor BatchNorm.
    """
    opened = run_on_val(run, console, device)
    return EFFECTS[batch](opened.classifier, opened.val, opened.device, passes)


def effects(classifier: Classifier, images: Images, device: torch.device, passes: int = 20) -> list[ModeEffect]:
    """One row per mode that differs for this network, eval first; the classifier stays as it was.

    Raises:
        TransferkitError: If no layer behaves otherwise in train mode, or there are less than two passes.
    """
    has = {kind: _has(classifier, kind) for kind in KINDS["train"]}
    if not any(has.values()):
        raise TransferkitError(
            "This network has neither dropout nor BatchNorm, so it predicts the same in both modes. Try "
            "`transferkit run lab-dropout`."
        )
    modes = {mode: (kinds, shuffled) for mode, kinds in KINDS.items() if all(has[kind] for kind in kinds)}
    return _effects(classifier, images, device, modes, passes)


def effects_of_sorting(
    classifier: Classifier, images: Images, device: torch.device, passes: int = 20
) -> list[ModeEffect]:
    """Eval mode, and BatchNorm awake in shuffled batches and in batches of one class each, of the same sizes.

    Raises:
        TransferkitError: If there is no BatchNorm, a class has a single image, or there are less than two passes.
    """
    if not _has(classifier, _BatchNorm):
        raise TransferkitError("This network has no BatchNorm, so it makes no difference which images share a batch.")
    counts = np.bincount(images.require_labels(), minlength=len(images.class_names))
    if 1 in counts:
        lonely = images.class_names[int(np.flatnonzero(counts == 1)[0])]
        raise TransferkitError(f"A batch of one class needs two images or more; val has 1 of {lonely!r}.")
    awake_kinds = KINDS["BatchNorm awake"]
    modes = {
        "eval": ((), shuffled),
        "BatchNorm awake, shuffled": (awake_kinds, shuffled_alike),
        "BatchNorm awake, by class": (awake_kinds, sorted_by_class),
    }
    return _effects(classifier, images, device, modes, passes)


def shuffled(labels: Labels) -> list[Labels]:
    """Places of the images of each batch of 64, in a new order."""
    return [chosen.numpy() for chosen in torch.split(torch.randperm(len(labels)), BATCH)]


def sorted_by_class(labels: Labels) -> list[Labels]:
    """Places of the images of batches of one class each, at most 64, as equal as can be."""
    batches: list[Labels] = []
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        places = places[torch.randperm(len(places)).numpy()]
        batches.extend(np.array_split(places, -(-len(places) // BATCH)))
    return batches


def shuffled_alike(labels: Labels) -> list[Labels]:
    """Shuffled batches as large as those of `sorted_by_class`: only who is in them differs."""
    sizes = [len(batch) for batch in sorted_by_class(labels)]
    return np.split(torch.randperm(len(labels)).numpy(), np.cumsum(sizes)[:-1])


def _has(classifier: Classifier, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) and _acts(module) for module in classifier.modules())


def _effects(
    classifier: Classifier, images: Images, device: torch.device, modes: Mapping[str, Mode], passes: int
) -> list[ModeEffect]:
    """One row per mode; the spread is that of eval mode's answer.

    Raises:
        TransferkitError: If there are less than two passes.
    """
    if passes < 2:
        raise TransferkitError(f"A spread needs at least two passes; found {passes}.")
    probabilities = {name: _passes(classifier, images, device, mode, passes) for name, mode in modes.items()}
    answers = probabilities["eval"][0].argmax(1)
    return [_effect(name, rows, images.require_labels(), answers) for name, rows in probabilities.items()]


def _acts(module: nn.Module) -> bool:
    return not isinstance(module, _DropoutNd) or module.p > 0


@torch.no_grad()
def _passes(
    classifier: Classifier, images: Images, device: torch.device, mode: Mode, passes: int
) -> npt.NDArray[np.float32]:
    """Probabilities (passes, N, C); each pass has its own order, so BatchNorm meets other neighbours."""
    kinds, batches = mode
    rows = np.empty((passes, len(images), len(images.class_names)), np.float32)
    with awake(classifier, kinds), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for number in range(passes):
            torch.manual_seed(number)
            for chosen in batches(images.require_labels()):
                logits: Tensor = classifier(to_device(images.take(chosen), device)).float()
                rows[number, chosen] = logits.softmax(1).cpu().numpy()
    return rows


@contextmanager
def awake(classifier: Classifier, kinds: Kinds) -> Iterator[None]:
    """Eval mode, but layers of these kinds in train mode; mode and running statistics are put back afterwards."""
    was_training = classifier.training
    before = {name: buffer.clone() for name, buffer in classifier.named_buffers()}
    classifier.eval()
    for module in classifier.modules():
        if isinstance(module, kinds):
            module.train()
    try:
        yield
    finally:
        for name, buffer in classifier.named_buffers():
            buffer.copy_(before[name])
        classifier.train(was_training)


def _effect(
    mode: str,
    probabilities: npt.NDArray[np.float32],
    labels: Labels,
    answers: Labels,
) -> ModeEffect:
    """The numbers of one mode from probabilities (passes, N, C)."""
    predicted = probabilities.argmax(2)  # (passes, N)
    accuracies = (predicted == labels).mean(1)
    n = len(labels)
    interval = wilson(round(float(accuracies.mean()) * n), n)
    of_answer = probabilities[:, np.arange(n), answers].astype(np.float64)  # (passes, N)
    return ModeEffect(
        mode=mode,
        n=n,
        passes=len(probabilities),
        accuracy=float(accuracies.mean()),
        interval=(interval.low, interval.high),
        accuracy_sd=float(accuracies.std(ddof=1)),
        spread=float(of_answer.std(axis=0, ddof=1).mean()),
        changing=float((predicted != predicted[0]).any(0).mean()),
    )


EFFECTS: Mapping[Batch, Callable[[Classifier, Images, torch.device, int], list[ModeEffect]]] = {
    "shuffled": effects,
    "sorted": effects_of_sorting,
}


def draw(rows: Sequence[ModeEffect], path: Path) -> None:
    """Draw the accuracy in each mode with its interval; the suffix decides the format."""
    drawn_to(path, lambda: figure(rows))


def figure(rows: Sequence[ModeEffect]) -> Any:
    """A row per mode."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(5.5, 0.9 + 0.36 * len(rows)), layout="constrained")
    axes = drawing.subplots()
    for place, row in enumerate(rows):
        low, high = row.interval
        axes.plot([100 * low, 100 * high], [place, place], color=SOFT, lw=1)
        axes.plot(100 * row.accuracy, place, "o", color=MISS if place else HIT)
        axes.text(100 * row.accuracy, place - 0.16, f"{100 * row.accuracy:.1f}", ha="center", va="bottom", fontsize=7)
    axes.set_yticks(range(len(rows)), [row.mode for row in rows])
    axes.set(xlim=(0, 100), ylim=(len(rows) - 0.5, -0.7))
    axes.set_xlabel(f"accuracy, % of {counted(rows[0].n, 'val image')}, mean of {rows[0].passes} passes (95 %)")
    return drawing
