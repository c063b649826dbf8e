"""LogME against the evidence itself, maximised slowly from its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from transferkit.runtime.errors import TransferkitError
from transferkit.studies.rank.logme import logme


def drawn(images: int, width: int, signal: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of three classes around means that lie apart by `signal`."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    means = signal * generator.normal(size=(3, width))
    return torch.from_numpy(means[labels] + generator.normal(size=(images, width))).float(), torch.from_numpy(labels)


def largest_evidence(features: torch.Tensor, labels: torch.Tensor) -> float:
    """log N(y; 0, 1/beta + FF'/alpha), maximised over alpha and beta by a general optimiser, per image and class."""
    rows = features.double().numpy()

    def negative(logs: np.ndarray, y: np.ndarray) -> float:
        alpha, beta = np.exp(logs)
        covariance = np.eye(len(y)) / beta + rows @ rows.T / alpha
        return -float(stats.multivariate_normal.logpdf(y, cov=covariance))

    found = [
        optimize.minimize(negative, [0.0, 0.0], args=((labels == label).double().numpy(),), method="Nelder-Mead").fun
        for label in labels.unique()
    ]
    return -float(np.mean(found)) / len(labels)


@pytest.mark.parametrize(("images", "width", "signal"), [(60, 5, 1.0), (60, 5, 0.1), (30, 40, 0.3)])
def test_the_fixed_point_is_the_largest_evidence(images: int, width: int, signal: float) -> None:
    features, labels = drawn(images, width, signal)

    assert logme(features, labels) == pytest.approx(largest_evidence(features, labels), abs=2e-4)


def test_features_that_tell_the_classes_apart_score_higher() -> None:
    assert logme(*drawn(90, 8, 1.0)) > logme(*drawn(90, 8, 0.2)) > logme(*drawn(90, 8, 0.0))


def test_turning_the_features_changes_nothing() -> None:
    features, labels = drawn(60, 6, 0.5)
    turned = features.double() @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]

    assert logme(turned, labels) == pytest.approx(logme(features, labels), abs=1e-6)


def test_constant_columns_and_more_columns_than_images_give_a_finite_number() -> None:
    features, labels = drawn(12, 3, 1.0)
    padded = torch.cat([features, torch.zeros(12, 50), torch.ones(12, 1)], dim=1)

    assert np.isfinite(logme(padded, labels))


def test_one_class_is_refused() -> None:
    with pytest.raises(TransferkitError, match="at least two classes"):
        logme(torch.ones(4, 2), torch.zeros(4, dtype=torch.long))
