"""LogME: how well a linear model could explain the labels by the features, without fitting one to be tested."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transferkit.runtime.errors import TransferkitError

MOST_STEPS = 1000  # of the fixed point; tens are usual
TOLERANCE = 1e-9  # relative change of both precisions at which it has arrived


def logme(features: Tensor, labels: Tensor) -> float:
    """The log of the maximum evidence per image, averaged over the classes that occur.

    You et al., ICML 2021 (arXiv:2102.11005): for each class, whether an image belongs to it (1 or 0) is
    regressed linearly on the features with a Gaussian prior (precision alpha) and Gaussian noise (precision beta);
    alpha and beta maximise the evidence, found by the paper's fixed point alpha = gamma / |m|^2,
    beta = (n - gamma) / |Fm - y|^2.

    Args:
        features: (N, D), as they are: neither centred nor scaled, as in the paper.
        labels: (N,) int64.

    Returns:
        In nats; higher = the features explain the labels better. Comparable on the same images and labels only.

    Raises:
        TransferkitError: If all images have one class, or the features are all zero.
    """
    present = torch.unique(labels)
    if len(present) < 2 or not bool(features.any()):
        raise TransferkitError("LogME needs images of at least two classes, and features that are not all zero.")
    targets = (labels[:, None] == present).double()  # (N, C)
    axes = _axes(features.double(), targets)
    alpha, beta = (torch.ones(len(present), dtype=torch.float64) for _ in range(2))
    for _ in range(MOST_STEPS):
        before = torch.cat([alpha, beta])
        fit = _posterior(axes, alpha, beta)
        alpha, beta = fit.effective / fit.squared_weights, (len(labels) - fit.effective) / fit.residual
        if torch.allclose(torch.cat([alpha, beta]), before, rtol=TOLERANCE, atol=0):
            break
    return float(_evidence(axes, alpha, beta).mean()) / len(labels)


@dataclass(frozen=True)
class _Axes:
    """All that the evidence needs of features and targets, along the K = min(N, D) axes of the features."""

    spectrum: Tensor  # (K, 1) squared singular values of the features
    projected: Tensor  # (K, C) V' F' y
    squared_targets: Tensor  # (C,) |y|^2
    images: int


@dataclass(frozen=True)
class _Posterior:
    """The weights given alpha and beta: how many of them the data determine, |m|^2 and |Fm - y|^2, one per class."""

    effective: Tensor
    squared_weights: Tensor
    residual: Tensor


def _axes(features: Tensor, targets: Tensor) -> _Axes:
    """From the eigenvectors of the smaller of F'F and FF'."""
    wide = features.shape[1] > len(features)
    spectrum, vectors = torch.linalg.eigh(features @ features.T if wide else features.T @ features)
    spectrum = spectrum.clamp(min=0)[:, None]
    projected = spectrum.sqrt() * (vectors.T @ targets) if wide else vectors.T @ (features.T @ targets)
    return _Axes(spectrum, projected, targets.square().sum(0), len(features))


def _posterior(axes: _Axes, alpha: Tensor, beta: Tensor) -> _Posterior:
    gain = beta / (alpha + beta * axes.spectrum)  # (K, C)
    mean = gain * axes.projected
    explained = 2 * (mean * axes.projected).sum(0) - (axes.spectrum * mean.square()).sum(0)
    tiny = torch.finfo(torch.float64).tiny
    return _Posterior(
        effective=(axes.spectrum * gain).sum(0),
        squared_weights=mean.square().sum(0).clamp(min=tiny),
        residual=(axes.squared_targets - explained).clamp(min=1e-12 * axes.squared_targets.max()),
    )


def _evidence(axes: _Axes, alpha: Tensor, beta: Tensor) -> Tensor:
    """(C,) log p(y | F, alpha, beta) of Bayesian linear regression; axes without variance cancel out."""
    fit = _posterior(axes, alpha, beta)
    spread = (alpha + beta * axes.spectrum).log().sum(0) - len(axes.spectrum) * alpha.log()
    n = axes.images
    fits = n * beta.log() - beta * fit.residual - alpha * fit.squared_weights
    return 0.5 * (fits - spread - n * math.log(2 * math.pi))
