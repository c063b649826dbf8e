"""What a smaller form of a model costs in accuracy, image by image beside the exact one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.data.images import Images, Pixels
from transferkit.metrics.statistics import Interval, paired_difference
from transferkit.runtime.plurals import counted

BATCH = 64

Answer = Callable[[Pixels], Sequence[Any]]  # images (N, 3, H, W) to outputs, the logits (N, C) first


@dataclass(frozen=True)
class AccuracyLoss:
    """How much accuracy is lost, in [-1, 1]; negative where the smaller form is better.

    Attributes:
        loss: Accuracy of the exact form minus that of the smaller one.
        interval: Its 95 % interval over the images, paired.
        images: How many.
    """

    loss: float
    interval: Interval
    images: int


def measure_loss(images: Images, exact: Answer, small: Answer) -> AccuracyLoss:
    """The paired difference of two forms of a model on labelled images."""
    right = [is_right(images, answer) for answer in (exact, small)]
    difference = paired_difference(right[0][None], right[1][None], "images", groups=images.groups)
    return AccuracyLoss(difference.difference, difference.interval, len(images))


def is_right(images: Images, answer: Answer) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(N,) whether each image is classified as its label says."""
    answers = [answer(np.ascontiguousarray(chunk))[0].argmax(axis=1) for chunk in images.chunks(BATCH)]
    right: np.ndarray[Any, np.dtype[np.bool_]] = np.concatenate(answers) == images.require_labels()
    return right


def in_words(loss: AccuracyLoss | None, learnt: str) -> str:
    """The loss in a sentence; `learnt` says why val flatters it, where it does."""
    if loss is None:
        return "what 8 bits cost is not known: the run has no val images."
    low, high = (100 * end for end in (loss.interval.low, loss.interval.high))
    flattered = f"; {learnt}, so that on new images it may be more" if learnt else ""
    return (
        f"8 bits cost {100 * loss.loss:.2f} points of accuracy on {counted(loss.images, 'val image')} "
        f"(95 % interval {low:.2f} to {high:.2f}, paired{flattered})."
    )
