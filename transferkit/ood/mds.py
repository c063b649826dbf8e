"""Mahalanobis distance to the nearest class mean: min_c (f - mu_c)' Sigma^-1 (f - mu_c).

Lee et al., NeurIPS 2018 (arXiv:1807.03888), eq. 2, on the head's input and without input perturbation. Sigma is shared
by the classes and shrunk (Ledoit-Wolf) if there are fewer than five images per feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import Floats, OodSettings, Score, fitted, row_by_row
from transferkit.ood.gaussians import Prepare, class_gaussians, class_moments, unchanged

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

IN_WORDS = "how far the nearest class mean is, by its spread"
IS_DEFAULT = False  # of what reports show


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """Class means and covariance of the training features.

    Raises:
        NotApplicable: If no class has two images, or no feature varies.
    """
    return nearest_class("mds", train, unchanged)


def nearest_class(name: str, train: Outputs, prepare: Prepare) -> Score:
    """The squared distance to the nearest class mean, of features that were prepared.

    Raises:
        NotApplicable: As `fit`.
    """
    classes = class_gaussians(class_moments(train, prepare))

    def score(outputs: Outputs) -> Floats:
        return row_by_row(lambda f: classes.squared_distances(prepare(f)).amin(dim=1), outputs.features)

    return fitted(name, train, score, classes.notes)
