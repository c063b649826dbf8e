"""What a network answers when its images move by some pixels: accuracy, and how often the answer stays the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from transferkit.data.images import Images
from transferkit.metrics.statistics import wilson
from transferkit.models.classifier import Classifier
from transferkit.report.matplotlib_figures import HIT, MISS, drawn_to
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.studies.lab.answers import predicted_classes
from transferkit.studies.lab.named_networks import run_on_val

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
    opened = run_on_val(run, console, device)
    return shifts(opened.classifier, opened.val, opened.device, farthest)


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


def draw(rows: Sequence[Shifted], path: Path) -> None:
    """Draw accuracy and kept answers over the shift; the suffix decides the format."""
    drawn_to(path, lambda: figure(rows))


def figure(rows: Sequence[Shifted]) -> Any:
    """Two curves over the shift; the answers that stay with their interval."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(4.6, 3), layout="constrained")
    axes = drawing.subplots()
    px = [row.px for row in rows]
    low, high = ([100 * row.interval[end] for row in rows] for end in (0, 1))
    axes.fill_between(px, low, high, color=HIT, alpha=0.15, lw=0)
    axes.plot(px, [100 * row.consistency for row in rows], "o-", ms=4, color=HIT, label="same answer as at rest")
    axes.plot(px, [100 * row.accuracy for row in rows], "s--", ms=4, color=MISS, label="accuracy")
    axes.set(xlabel="shift, px", ylabel=f"% of {counted(rows[0].n, 'val image')}", ylim=(0, 102), xticks=px)
    axes.legend(frameon=False)
    return drawing
