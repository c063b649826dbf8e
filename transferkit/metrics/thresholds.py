"""The score up to which images are accepted, and what such a threshold lets through.

Two kinds of threshold, not to be compared: `fpr95_id` accepts 95 % of known images, which anybody can set without
unknown ones; `openood.fpr95_openood` flags 95 % of the unknown ones, as OpenOOD v1.5 reports it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from transferkit.metrics.proportions import Proportion, share
from transferkit.metrics.scores import finite_scores
from transferkit.runtime.array_types import Floats
from transferkit.runtime.errors import TransferkitError

ACCEPTANCE = 0.95  # the field's convention, Hendrycks and Gimpel 2017 (arXiv:1610.02136)
FEWEST_FOR_THRESHOLD = 20  # images; below, a 95 % threshold is the largest score
FEWEST_TO_REJECT = (
    100  # with fewer, training images left out in turn are the better guide; docs/detectors.md has the figures
)


def threshold_at(val_scores: Floats, acceptance: float = ACCEPTANCE) -> float | None:
    """The score up to which that share of validation images is accepted; None below 20 images.

    Args:
        val_scores: (n,) of in-distribution images that trained nothing.
        acceptance: In (0, 1].

    Returns:
        The ceil(acceptance * n)-th smallest score; accept an image if its score is not above.

    Raises:
        TransferkitError: If acceptance is no share, or scores are not finite.
    """
    if not 0 < acceptance <= 1:
        raise TransferkitError(f"acceptance is {acceptance}; expected a share above 0 and up to 1, such as 0.95.")
    scores = finite_scores(val_scores, "validation")
    if len(scores) < FEWEST_FOR_THRESHOLD:
        return None
    return float(np.sort(scores)[_ceil(acceptance * len(scores)) - 1])


@dataclass(frozen=True)
class FprId:
    """What a threshold set on validation images lets through.

    Attributes:
        threshold: Accept scores up to here; None if it could not be set, and then the rest is None too.
        ood_accepted: Share of unknown images accepted; less is better.
        id_accepted: Share of known test images accepted, 95 % if val and test are alike; ties make it more.
        reason: Why there is no threshold, else None.
    """

    threshold: float | None
    ood_accepted: Proportion | None
    id_accepted: Proportion | None
    reason: str | None


def fpr95_id(val_scores: Floats, test_scores: Floats, ood_scores: Floats) -> FprId:
    """Share of unknown images accepted where 95 % of the validation images are.

    The interval takes the threshold as given, as a user does who stores it.

    Args:
        val_scores: (n,) known images that set the threshold.
        test_scores: (n0,) known images that check it.
        ood_scores: (n1,) unknown images.

    Raises:
        TransferkitError: If scores are not finite.
    """
    threshold = threshold_at(val_scores)
    if threshold is None:
        return FprId(None, None, None, f"{len(val_scores)} validation images; a threshold needs {FEWEST_FOR_THRESHOLD}")
    return FprId(threshold, accepted(ood_scores, threshold), accepted(test_scores, threshold), None)


def accepted(scores: Floats, threshold: float) -> Proportion:
    """Share of images with scores up to the threshold.

    Raises:
        TransferkitError: If scores are not finite.
    """
    return share(finite_scores(scores, "given") <= threshold)


def _ceil(product: float) -> int:
    """The next whole number, where 0.95 * 60 counts as 57 however it is rounded."""
    return math.ceil(round(product, 9))
