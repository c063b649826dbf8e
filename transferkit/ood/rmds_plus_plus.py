"""Relative Mahalanobis++: the distance of `rmds` after every feature vector was brought to length 1.

Mueller and Hein, ICML 2025 (arXiv:2505.18032), who normalise for Ren et al.'s score, too. Features are normalised once,
before anything is fitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.metrics.outputs import Outputs
from transferkit.ood.contract import OodSettings, Score
from transferkit.ood.knn import unit_length
from transferkit.ood.rmds import relative_to_all

if TYPE_CHECKING:
    from transferkit.models.linear import LinearHead

IN_WORDS = "as rmds, by the direction of features alone"


def fit(train: Outputs, val: Outputs | None, head: LinearHead | None, settings: OodSettings) -> Score:  # noqa: ARG001
    """The class Gaussians of `mds++` and one around all training images.

    Raises:
        NotApplicable: If fewer than two classes have two images, or no direction varies.
    """
    return relative_to_all("rmds++", train, unit_length)
