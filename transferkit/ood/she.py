"""Simplified Hopfield energy: -f' S, with S the mean features of training images rightly given the predicted class.

Zhang et al., ICLR 2023 (openreview KkazG4lgKL). A long feature vector scores low wherever it points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import (
    CHUNK_ROWS,
    Floats,
    NotApplicable,
    OodSettings,
    Score,
    chunks,
    fitted,
    linear_head,
    require_several_classes,
    training_features,
)

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

IN_WORDS = "how unlike the mean of its predicted class it is"
IS_DEFAULT = False  # of what reports show


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """The mean of every class.

    Raises:
        NotApplicable: With one class, without a linear head, or if a class has no image that is rightly classified.
    """
    require_several_classes(train)
    training_features(train)
    linear_head(head, train)
    patterns = _patterns(train)
    return fitted("she", train, lambda outputs: -similarity(outputs, patterns))


def similarity(outputs: Outputs, patterns: Tensor) -> Floats:
    """(N,) inner products of the features with the pattern of the predicted class, of (C, D)."""
    similarities = np.empty(len(outputs))
    for start, chunk in enumerate(chunks(outputs.features)):
        rows = slice(start * CHUNK_ROWS, (start + 1) * CHUNK_ROWS)
        similarities[rows] = (chunk * patterns[outputs.predictions[rows]]).sum(dim=1)
    return similarities


def _patterns(train: Outputs) -> Tensor:
    """(C, D) float64 means of the rightly classified images."""
    right = train.is_right
    counts = np.bincount(train.require_labels()[right], minlength=len(train.class_names))
    if not counts.all():
        name = train.class_names[int(np.flatnonzero(counts == 0)[0])]
        raise NotApplicable(f"It needs a rightly classified training image of every class; {name!r} has none.")
    means = [
        train.features[right & (train.require_labels() == c)].mean(axis=0, dtype=np.float64) for c in range(len(counts))
    ]
    return torch.from_numpy(np.stack(means))
