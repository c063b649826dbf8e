"""Distance to the decision boundaries over that to the mean: -mean_c (z_k - z_c) / ||w_k - w_c|| / ||f - mu||.

Liu and Qin, ICML 2024 (arXiv:2312.11536); k is the predicted class, c runs over the others and mu is the
mean of the training features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import (
    Floats,
    NotApplicable,
    OodSettings,
    Score,
    chunks,
    fitted,
    linear_head,
    require_several_classes,
    row_by_row,
    training_features,
)

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

SHORTEST = 1e-8  # of ||f - mu||, so that an image at the mean gets a number

IN_WORDS = "how near the boundaries between classes it lies"
IS_DEFAULT = False  # of what reports show


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """The mean of the training features and the distances between the rows of the head.

    Raises:
        NotApplicable: With one class, without a linear head, or if two classes have the same weights.
    """
    require_several_classes(train)
    rows = training_features(train)
    weight, _ = linear_head(head, train)
    apart = _apart(weight, train.class_names)
    mean = sum((chunk.sum(dim=0) for chunk in chunks(rows)), torch.zeros(rows.shape[1], dtype=torch.float64)) / len(
        rows
    )

    def score(outputs: Outputs) -> Floats:
        to_mean = row_by_row(lambda f: torch.linalg.vector_norm(f - mean, dim=1), outputs.features)
        return -row_by_row(lambda z: boundary_distance(z, apart), outputs.logits) / np.maximum(to_mean, SHORTEST)

    return fitted("fdbd", train, score)


def boundary_distance(logits: Tensor, apart: Tensor) -> Tensor:
    """(N,) mean distance, in feature units, to the boundaries between the predicted class and each other one.

    Args:
        logits: (N, C), of a linear head.
        apart: (C, C) distances between the weights of two classes, 1 on the diagonal.
    """
    largest, predicted = logits.max(dim=1)
    return ((largest[:, None] - logits) / apart[predicted]).sum(dim=1) / (logits.shape[1] - 1)


def _apart(weight: Tensor, class_names: tuple[str, ...]) -> Tensor:
    """(C, C) distances between rows of the head; 1 on the diagonal."""
    apart = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(1.0)
    same = (apart == 0).nonzero()
    if len(same):
        first, second = (class_names[int(i)] for i in same[0])
        raise NotApplicable(
            f"Classes {first!r} and {second!r} have the same weights, so no boundary lies between them."
        )
    return apart
