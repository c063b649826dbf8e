"""What a network answers when its images move by some pixels: accuracy, and how often the answer stays the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.data import datasets
from transferkit.data.images import Images
from transferkit.metrics.statistics import wilson
from transferkit.models.classifier import Classifier
from transferkit.runs.run_directory import open_run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime import machine
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab.answers import predicted_classes

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # rows down, columns right


@dataclass(frozen=True)
class Shifted:
    """The answers to images moved by some pixels, in each of four directions.

    Attributes:
        px: How far, at the images' own size.
        n: Images.
        accuracy: Mean over the directions.
        consistency: Share of images that get the answer of the image at rest, mean over the directions (Zhang 2019,
            arXiv:1904.11486, compares two shifted images instead).
        interval: Wilson's, 95 %, of the consistency, over images.
    """

    px: int
    n: int
    accuracy: float
    consistency: float
    interval: tuple[float, float]


def of_run(run: Path, farthest: int, console: Console, device: str = "auto") -> list[Shifted]:
    """A run's val images, moved by 0 to `farthest` px; the test set stays sealed.

    Raises:
        TransferkitError: If there is no finished run, it has no val images, or they are smaller than the shift.
    """
    finished = open_run(run)
    runtime = machine.start(device, finished.precision)
    val = datasets.load(finished.recipe.data, console).val
    if not len(val):
        raise TransferkitError(f"{run} was made without val images. Run it again with data.val_fraction=0.1.")
    return shifts(load_classifier(finished).to(runtime.device).eval(), val, runtime.device, farthest)


def shifts(classifier: Classifier, images: Images, device: torch.device, farthest: int) -> list[Shifted]:
    """One row per shift, from none to `farthest` px.

    Raises:
        TransferkitError: If the images are not larger than the shift.
    """
    if farthest >= min(images.size_px):
        raise TransferkitError(f"Images of {min(images.size_px)} px cannot move by {farthest} px. Use a smaller --px.")
    at_rest = _answers(classifier, images, device, (0, 0))
    rows = []
    for px in range(farthest + 1):
        moved = np.stack([_answers(classifier, images, device, (px * down, px * right)) for down, right in DIRECTIONS])
        same = float((moved == at_rest).mean())
        interval = wilson(round(same * len(images)), len(images))
        accuracy = float((moved == images.require_labels()).mean())
        rows.append(Shifted(px, len(images), accuracy, same, (interval.low, interval.high)))
    return rows


def moved(images: Tensor, down: int, right: int) -> Tensor:
    """Images (N, 3, H, W) moved by whole px, at most H - 1 and W - 1; what enters is the border's mirror image.

    Example:
        >>> moved(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 0, 1).flatten().tolist()
        [2.0, 1.0, 2.0]
    """
    height, width = images.shape[-2:]
    padded = F.pad(images.float(), (abs(right), abs(right), abs(down), abs(down)), mode="reflect")
    top, left = abs(down) - down, abs(right) - right
    return padded[..., top : top + height, left : left + width].to(images.dtype)


def _answers(
    classifier: Classifier, images: Images, device: torch.device, shift: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """The predicted class of each image, moved by so many px down and right."""
    return predicted_classes(classifier, images, device, lambda batch: moved(batch, *shift))
