"""Which classes are confused, and the images where the classifier was surest and least sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.metrics.classification import confusion_matrix
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.proportions import Proportion, proportion
from transferkit.runtime.array_types import Integers


@dataclass(frozen=True)
class Confusion:
    """Images of one class predicted as another.

    Attributes:
        true: Name of the class they belong to.
        predicted: Name of the class they were given.
        count: How many.
        share: Of the true class, with interval.
    """

    true: str
    predicted: str
    count: int
    share: Proportion


def most_confused(outputs: Outputs, limit: int = 10) -> tuple[Confusion, ...]:
    """Pairs of true and predicted class with the most mistakes, largest first; ties in class order."""
    counts = confusion_matrix(outputs)
    of_class = counts.sum(axis=1)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(cell), len(counts)) for cell in order]
    names = outputs.class_names
    return tuple(
        Confusion(names[i], names[j], int(wrong[i, j]), proportion(int(wrong[i, j]), int(of_class[i])))
        for i, j in pairs
        if wrong[i, j]
    )


def most_confident_mistakes(outputs: Outputs, limit: int) -> Integers:
    """(at most limit,) positions of mistakes, most confident first; ties in image order."""
    wrong = np.flatnonzero(~outputs.is_right)
    return wrong[np.argsort(-outputs.confidences[wrong], kind="stable")][:limit]


def least_confident_hits(outputs: Outputs, limit: int) -> Integers:
    """(at most limit,) positions of hits, least confident first; ties in image order."""
    right = np.flatnonzero(outputs.is_right)
    return right[np.argsort(outputs.confidences[right], kind="stable")][:limit]
