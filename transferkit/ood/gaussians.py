"""Gaussians with a shared covariance, fitted to features: what `mds`, `rmds`, `mds++` and `rmds++` measure with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import CHUNK_ROWS, NotApplicable, Rows, chunks, training_features
from transferkit.runtime.plurals import counted

ENOUGH_ROWS_PER_COLUMN = 5  # below, the covariance is shrunk
FEWEST_OF_CLASS = 2  # a class with one image is its own mean and has no spread

Prepare = Callable[[Tensor], Tensor]  # (n, D) float64 features to (n, D), before anything is measured


def unchanged(features: Tensor) -> Tensor:
    """The features themselves."""
    return features


@dataclass(frozen=True)
class Gaussians:
    """G Gaussians with one covariance.

    Attributes:
        centre: (D,), subtracted first, so that no digits are lost.
        whitener: (D, R), maps centred features to where the covariance is the identity.
        means: (G, R), whitened.
        notes: What was left out or shrunk.
    """

    centre: Tensor
    whitener: Tensor
    means: Tensor
    notes: tuple[str, ...]

    def squared_distances(self, features: Tensor) -> Tensor:
        """(n, G) squared Mahalanobis distances of (n, D) float64 features."""
        white = (features - self.centre) @ self.whitener  # (n, R)
        squares = white.square().sum(1, keepdim=True) + self.means.square().sum(1)
        return (squares - 2 * white @ self.means.T).clamp(min=0)


@dataclass(frozen=True)
class Grouped:
    """Training features with the class of each row, counted without the classes left out."""

    rows: Rows
    group: Tensor  # (N,) int64, 0..G-1
    notes: tuple[str, ...] = ()
    prepare: Prepare = unchanged


def by_class(train: Outputs, prepare: Prepare = unchanged) -> Grouped:
    """The training images of classes that have at least two.

    Raises:
        NotApplicable: If there is no such class.
    """
    rows = training_features(train)
    counts = np.bincount(train.require_labels(), minlength=len(train.class_names))
    enough = counts >= FEWEST_OF_CLASS
    if not enough.any():
        raise NotApplicable("No class has two training images, so there is no spread to measure with.")
    has_enough = enough[train.require_labels()]
    group = (np.cumsum(enough) - 1)[train.require_labels()[has_enough]]
    enough_rows = rows if has_enough.all() else rows[has_enough]
    return Grouped(enough_rows, torch.from_numpy(group), _skipped(train, enough), prepare)


def _skipped(train: Outputs, enough: np.ndarray) -> tuple[str, ...]:
    names = [name for name, has in zip(train.class_names, enough, strict=True) if not has]
    if not names:
        return ()
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return (
        f"leaves out {len(names)} of {counted(len(enough), 'class', 'classes')} with fewer than "
        f"two training images: {shown}",
    )


@dataclass(frozen=True)
class Moments:
    """What training features say about their classes.

    Attributes:
        counts: (G,) images.
        means: (G, D) float64.
        within: (D, D) covariance around the class means, divided by N (Lee et al., eq. 1), shrunk if images are few.
        notes: What was left out or shrunk.
    """

    counts: Tensor
    means: Tensor
    within: Tensor
    notes: tuple[str, ...]


def class_moments(train: Outputs, prepare: Prepare = unchanged) -> Moments:
    """Means and covariance of the classes with two training images or more, of features that were prepared.

    Raises:
        NotApplicable: If there is no such class.
    """
    grouped = by_class(train, prepare)
    means = _means(grouped)
    within, shrinkage = _covariance(grouped, means)
    return Moments(grouped.group.bincount(), means, within, (*grouped.notes, *_notes(grouped, shrinkage)))


def class_gaussians(moments: Moments) -> Gaussians:
    """One Gaussian per class.

    Raises:
        NotApplicable: If no feature varies within a class.
    """
    return _gaussians(moments.means, moments.within, moments.notes)


def background_gaussian(moments: Moments) -> Gaussians:
    """One Gaussian around all images: covariance within plus between classes.

    Without shrinkage this is the covariance of all images. With it, the two Gaussians are shrunk alike; shrunk each by
    its own amount, they differ in directions that say nothing about classes, and far images look near.

    Raises:
        NotApplicable: If no feature varies within a class.
    """
    shares = moments.counts.double() / moments.counts.sum()
    mean = shares @ moments.means
    apart = moments.means - mean
    return _gaussians(mean[None], moments.within + (shares[:, None] * apart).T @ apart, ())


def _gaussians(means: Tensor, covariance: Tensor, notes: tuple[str, ...]) -> Gaussians:
    """Directions without variance are ignored, as by a pseudo-inverse, and counted."""
    values, vectors = torch.linalg.eigh(covariance)
    if not values[-1] > 0:
        raise NotApplicable(
            "The training features do not vary within the classes, so there is nothing to measure with."
        )
    varies = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    whitener = vectors[:, varies] / values[varies].sqrt()
    centre = means.mean(dim=0)
    still = int((~varies).sum())
    ignored = f"ignores {still:,} of {counted(len(values), 'direction')} in which the training images do not vary"
    return Gaussians(centre, whitener, (means - centre) @ whitener, (*notes, ignored) if still else notes)


def _means(grouped: Grouped) -> Tensor:
    """(G, D) float64."""
    groups = int(grouped.group.max()) + 1
    sums = torch.zeros(groups, grouped.rows.shape[1], dtype=torch.float64)
    for chunk, group in _chunks(grouped):
        sums.index_add_(0, group, chunk)
    return sums / grouped.group.bincount(minlength=groups)[:, None]


def _covariance(grouped: Grouped, means: Tensor) -> tuple[Tensor, float]:
    """(D, D) around the means and its shrinkage in [0, 1].

    Shrinkage towards a multiple of the identity by Ledoit and Wolf, J. Multivariate Analysis 88 (2004) 365,
    with sum_i ||x_i x_i' - S||^2 = sum_i ||x_i||^4 - n ||S||^2; only if n < 5 D.
    """
    n, width = grouped.rows.shape
    scatter, fourth = torch.zeros(width, width, dtype=torch.float64), 0.0
    for chunk, group in _chunks(grouped):
        centred = chunk - means[group]
        scatter.addmm_(centred.T, centred)
        fourth += float(centred.square().sum(1).square().sum())
    covariance = scatter / n
    if n >= ENOUGH_ROWS_PER_COLUMN * width:
        return covariance, 0.0
    return _shrunk(covariance, fourth / n, n)


def _shrunk(covariance: Tensor, fourth_moment: float, n: int) -> tuple[Tensor, float]:
    target = torch.eye(len(covariance), dtype=torch.float64) * covariance.diagonal().mean()
    distance = float((covariance - target).square().sum())
    noise = max(0.0, fourth_moment - float(covariance.square().sum())) / n
    shrinkage = min(1.0, noise / distance) if distance > 0 else 0.0
    return (1 - shrinkage) * covariance + shrinkage * target, shrinkage


def _chunks(grouped: Grouped) -> Iterator[tuple[Tensor, Tensor]]:
    prepared = map(grouped.prepare, chunks(grouped.rows))
    return zip(prepared, torch.split(grouped.group, CHUNK_ROWS), strict=True)


def _notes(grouped: Grouped, shrinkage: float) -> list[str]:
    n, width = grouped.rows.shape
    if n >= ENOUGH_ROWS_PER_COLUMN * width:
        return []
    return [
        f"{counted(n, 'image')} for {counted(width, 'feature')}: covariance shrunk by {shrinkage:.2f} (Ledoit-Wolf)"
    ]
