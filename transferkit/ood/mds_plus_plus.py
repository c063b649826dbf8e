"""Mahalanobis++: the distance of `mds` after every feature vector was brought to length 1.

Mueller and Hein, ICML 2025 (arXiv:2505.18032). One Gaussian shape for all classes fits directions better than lengths,
which differ from class to class. Features are normalised once, before means and covariance are taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import OodSettings, Score
from transferkit.ood.knn import unit_length
from transferkit.ood.mds import nearest_class

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

IN_WORDS = "as mds, by the direction of features alone"


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """Class means and covariance of the training features at length 1.

    Raises:
        NotApplicable: If no class has two images, or no direction varies.
    """
    return nearest_class("mds++", train, unit_length)
