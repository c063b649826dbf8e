"""Estimators of images that take rows of numbers, so that scikit-learn's own checks can be run on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_array

from transferkit.api.transfer_classifier import TransferClassifier
from transferkit.features.extractor import FeatureExtractor


def rows_as_images(rows: Any) -> np.ndarray:
    """(N, F) finite numbers to (N, 8, 8F, 3) uint8: a stripe per number, of those of the checks within -4..4."""
    numbers = check_array(rows, dtype=np.float64, ensure_min_samples=1)
    grey = np.clip(128 + 30 * numbers, 0, 255).astype(np.uint8)  # (N, F)
    stripes = np.repeat(np.repeat(grey[:, None, :], 8, axis=1), 8, axis=2)  # (N, 8, 8F)
    return np.repeat(stripes[..., None], 3, axis=3)


class ExtractorOfRows(FeatureExtractor):
    """FeatureExtractor behind `rows_as_images`."""

    def fit(self, X: Any = None, y: Any = None) -> ExtractorOfRows:
        check_array(X)
        return super().fit(X, y)

    def transform(self, X: Any) -> Any:
        return super().transform(rows_as_images(X))

    def __sklearn_tags__(self) -> Any:
        return _of_rows(super().__sklearn_tags__())


class ClassifierOfRows(TransferClassifier):
    """TransferClassifier behind `rows_as_images`."""

    def fit(self, X: Any, y: Any) -> ClassifierOfRows:
        return super().fit(rows_as_images(X), y)

    def _logits(self, X: Any) -> Any:
        return super()._logits(rows_as_images(X))

    def __sklearn_tags__(self) -> Any:
        return _of_rows(super().__sklearn_tags__())


def _of_rows(tags: Any) -> Any:
    tags.input_tags.two_d_array, tags.input_tags.string = True, False
    return tags


def failures(estimator: BaseEstimator) -> dict[str, str]:
    """What scikit-learn's checks say against an estimator: the name of each check that fails, and why."""
    failed = {}
    for checked, check in estimator_checks_generator(estimator):
        name = check.func.__name__
        try:
            check(checked)
        except (Exception, pytest.skip.Exception) as error:
            if type(error).__name__ != "SkipTest":
                failed[name] = f"{type(error).__name__}: {error}"
    return failed


def count(estimator: BaseEstimator) -> int:
    """How many checks there are for it."""
    return sum(1 for _ in estimator_checks_generator(estimator))
