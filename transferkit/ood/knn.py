"""Distance to the k-th nearest training image, features at unit length.

Sun et al., ICML 2022 (arXiv:2204.06507). k = 50, their value for CIFAR-10, or a twentieth of the
training images if that is less; never tuned on out-of-distribution images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import Floats, OodSettings, Rows, Score, as_float64, chunks, fitted, training_features
from transferkit.runtime.plurals import counted

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

MOST_NEIGHBOURS = 50
SIMILARITIES = 2**24  # held at once, 64 MB
IN_WORDS = "how far the nearest training images are"


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """Keep the training features, or `settings.max_train_rows` of them drawn with the seed.

    Raises:
        NotApplicable: Without training images.
    """
    rows = training_features(train)
    bank_rows, notes = _kept(rows, settings)
    bank = torch.cat([unit_length(chunk).float() for chunk in chunks(bank_rows)]).to(settings.device)
    k = neighbours(len(rows))
    return fitted("knn", train, lambda outputs: distances(bank, outputs.features, k), notes)


def neighbours(n_train: int) -> int:
    """k of n training images.

    Example:
        >>> neighbours(1), neighbours(200), neighbours(45_000)
        (1, 10, 50)
    """
    return min(MOST_NEIGHBOURS, max(1, n_train // 20))


def typical_distance(train: Outputs) -> float:
    """The median distance of training images to their k-th nearest other one, in [0, 2]; nan of a single image.

    What the scores of two networks are to be compared by: one may spread all its features wider than the other.
    """
    away = left_out_distances(train)
    return float(np.median(away)) if len(away) else float("nan")


def left_out_distances(train: Outputs) -> Floats:
    """(N,) distance of each training image to its k-th nearest other one, in [0, 2]; empty of too few images.

    What the score of further images is like, if the network has not learnt from the training images.
    """
    rows = training_features(train)
    k = neighbours(len(rows))
    if len(rows) <= k:
        return np.empty(0)
    bank = torch.cat([unit_length(chunk).float() for chunk in chunks(rows)])
    return distances(bank, rows, k + 1)  # the nearest is the image itself


def _kept(rows: Rows, settings: OodSettings) -> tuple[Rows, list[str]]:
    if len(rows) <= settings.max_train_rows:
        return rows, []
    drawn = np.random.default_rng(settings.seed).choice(len(rows), settings.max_train_rows, replace=False)
    note = (
        f"compares with {settings.max_train_rows:,} of {counted(len(rows), 'training image')}, drawn with "
        f"seed {settings.seed}"
    )
    return rows[np.sort(drawn)], [note]


def unit_length(features: Tensor) -> Tensor:
    """(N, D) rows of length 1; a row of zeros stays as it is."""
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / length.where(length > 0, 1.0)


def distances(bank: Tensor, features: Rows, k: int) -> Floats:
    """(N,) Euclidean distances in [0, 2] to the k-th nearest row of the bank (M, D), which is float32.

    float32 finds the neighbour; its distance is then measured in float64 from the kept vectors.
    """
    step = max(1, SIMILARITIES // len(bank))
    parts = [_distances(bank, features[start : start + step], k) for start in range(0, len(features), step)]
    scores: Floats = torch.cat(parts).numpy() if parts else np.empty(0)
    return scores


def _distances(bank: Tensor, features: Rows, k: int) -> Tensor:
    queries = unit_length(as_float64(features)).float().to(bank.device)
    nearness = torch.addmm(-bank.square().sum(dim=1) / 2, queries, bank.T)  # falls with the distance
    kth = nearness.topk(k, dim=1).indices[:, -1]
    distance: Tensor = torch.linalg.vector_norm(queries.double() - bank[kth].double(), dim=1)
    return distance.cpu()
