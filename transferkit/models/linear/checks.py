"""Refuses features, labels and penalties that no linear head can be fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted


def check_C(C: Sequence[float]) -> None:
    """Refuse an empty list, and values that are not positive and finite.

    Raises:
        TransferkitError: Names what came.
    """
    if not C or not all(0 < value < float("inf") for value in C):
        raise TransferkitError(f"C is {list(C)}; expected at least one positive number, such as 1.0.")


def check_features(features: Tensor, labels: Tensor, num_classes: int, part: Literal["training", "validation"]) -> None:
    """Refuse (N, D) features and (N,) labels that no head can be fitted to or judged on.

    Raises:
        TransferkitError: If shapes do not match, features hold NaN, labels are out of range, or the training labels
            hold fewer than two classes.
    """
    if features.device.type == "mps":
        raise TransferkitError("The probe solver needs float64, which mps does not have. Pass features.cpu().")
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise TransferkitError(
            f"The {part} features have shape {tuple(features.shape)} and the labels {tuple(labels.shape)}; "
            "expected (N, D) and (N,)."
        )
    bad = len(features) - int(torch.isfinite(features.sum(1)).sum())
    if bad:
        raise TransferkitError(
            f"{bad} of {len(features)} {part} feature rows hold NaN or infinity. Extract the features again in "
            "float32 and look for broken images or diverged weights."
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise TransferkitError(
            f"The {part} labels run from {int(labels.min())} to {int(labels.max())}; "
            f"expected 0 to {num_classes - 1} for {counted(num_classes, 'class', 'classes')}."
        )
    present = len(torch.unique(labels))
    if part == "training" and present < 2:
        raise TransferkitError(
            f"The training labels hold {present} of {num_classes} classes; a probe needs images of at least two. "
            "Check the labels or the size of the subset."
        )


def check_same_width(train_features: Tensor, val_features: Tensor) -> None:
    """Refuse train and val from different backbones or layers.

    Raises:
        TransferkitError: Names both widths.
    """
    if train_features.shape[1] != val_features.shape[1]:
        raise TransferkitError(
            f"Training features are {train_features.shape[1]} wide, validation features {val_features.shape[1]}. "
            "Extract both with the same backbone and layer."
        )
