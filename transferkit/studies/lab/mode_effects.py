"""What train mode does to a finished network: accuracy and spread with dropout or BatchNorm awake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from transferkit.data import datasets
from transferkit.data.batches import to_device
from transferkit.data.images import Images
from transferkit.metrics.statistics import wilson
from transferkit.models.classifier import Classifier
from transferkit.runs.run_directory import open_run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime import machine
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError

BATCH = 64  # BatchNorm in train mode sees one batch at a time, so its size matters
KINDS: Mapping[str, tuple[type[nn.Module], ...]] = {
    "eval": (),
    "dropout awake": (_DropoutNd,),
    "BatchNorm awake": (_BatchNorm,),
    "train": (_DropoutNd, _BatchNorm),
}


@dataclass(frozen=True)
class ModeEffect:
    """What a network says in one mode, over several passes over the same images in new orders.

    Attributes:
        mode: eval, dropout awake, BatchNorm awake, or train (both).
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


def of_run(run: Path, passes: int, console: Console, device: str = "auto") -> list[ModeEffect]:
    """The effects of the modes on a run's val images; the test set stays sealed.

    Raises:
        TransferkitError: If there is no finished run, it has no val images, or neither dropout nor BatchNorm.
    """
    finished = open_run(run)
    runtime = machine.start(device, finished.precision)
    val = datasets.load(finished.recipe.data, console).val
    if not len(val):
        raise TransferkitError(f"{run} was made without val images. Run it again with data.val_fraction=0.1.")
    return effects(load_classifier(finished).to(runtime.device).eval(), val, runtime.device, passes)


def effects(classifier: Classifier, images: Images, device: torch.device, passes: int = 20) -> list[ModeEffect]:
    """One row per mode that differs for this network, eval first; the classifier stays as it was.

    Raises:
        TransferkitError: If no layer behaves otherwise in train mode, or there are less than two passes.
    """
    if passes < 2:
        raise TransferkitError(f"A spread needs at least two passes; found {passes}.")
    modules = list(classifier.modules())
    has = {kind: any(isinstance(module, kind) and _acts(module) for module in modules) for kind in KINDS["train"]}
    if not any(has.values()):
        raise TransferkitError(
            "This network has neither dropout nor BatchNorm, so it predicts the same in both modes. Try "
            "`transferkit run lab-dropout`."
        )
    modes = [mode for mode, kinds in KINDS.items() if all(has[kind] for kind in kinds)]
    probabilities = {mode: _passes(classifier, images, device, KINDS[mode], passes) for mode in modes}
    answers = probabilities["eval"][0].argmax(1)
    return [_effect(mode, rows, images.require_labels(), answers) for mode, rows in probabilities.items()]


def _acts(module: nn.Module) -> bool:
    return not isinstance(module, _DropoutNd) or module.p > 0


@torch.no_grad()
def _passes(
    classifier: Classifier, images: Images, device: torch.device, kinds: tuple[type[nn.Module], ...], passes: int
) -> npt.NDArray[np.float32]:
    """Probabilities (passes, N, C); each pass has its own order, so BatchNorm meets other neighbours."""
    rows = np.empty((passes, len(images), len(images.class_names)), np.float32)
    with awake(classifier, kinds), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for number in range(passes):
            torch.manual_seed(number)
            order = torch.randperm(len(images))
            for chosen in torch.split(order, BATCH):
                logits: Tensor = classifier(to_device(images.take(chosen.numpy()), device)).float()
                rows[number, chosen.numpy()] = logits.softmax(1).cpu().numpy()
    return rows


@contextmanager
def awake(classifier: Classifier, kinds: tuple[type[nn.Module], ...]) -> Iterator[None]:
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
    labels: npt.NDArray[np.int64],
    answers: npt.NDArray[np.int64],
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
