"""Relative Mahalanobis distance: min_c (f - mu_c)' Sigma^-1 (f - mu_c) - (f - mu_0)' Sigma_0^-1 (f - mu_0).

Ren et al., 2021 (arXiv:2106.09022): mu_0 and Sigma_0 belong to one Gaussian around all training images.
What is rare for every class alike, and so says nothing about classes, cancels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import Floats, NotApplicable, OodSettings, Score, fitted, row_by_row
from transferkit.ood.gaussians import Prepare, background_gaussian, class_gaussians, class_moments, unchanged

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

IN_WORDS = "mds minus the distance to all training images"


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """The class Gaussians of `mds` and one around all training images.

    Raises:
        NotApplicable: If fewer than two classes have two images, or no feature varies.
    """
    return relative_to_all("rmds", train, unchanged)


def relative_to_all(name: str, train: Outputs, prepare: Prepare) -> Score:
    """The nearest class's squared distance minus that of all images together, of features that were prepared.

    Raises:
        NotApplicable: As `fit`.
    """
    moments = class_moments(train, prepare)
    if len(moments.means) < 2:
        raise NotApplicable("It compares classes with all images together, and only one class has two images.")
    classes, background = class_gaussians(moments), background_gaussian(moments)

    def relative(rows: Tensor) -> Tensor:
        features = prepare(rows)
        return classes.squared_distances(features).amin(dim=1) - background.squared_distances(features)[:, 0]

    def score(outputs: Outputs) -> Floats:
        return row_by_row(relative, outputs.features)

    return fitted(name, train, score, classes.notes)
