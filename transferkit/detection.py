"""How well scores tell unknown images from known ones, with intervals; scores larger = more out-of-distribution.

Two kinds of threshold, not to be compared: `fpr95_id` accepts 95 % of known images, which anybody can set without
unknown ones; `fpr95_openood` flags 95 % of the unknown ones, as OpenOOD v1.5 reports it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from transferkit.errors import TransferkitError
from transferkit.metrics import Proportion
from transferkit.statistics import Interval, clopper_pearson, wilson

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CONFIDENCE = 0.95
ACCEPTANCE = 0.95
FEWEST_VAL = 20  # below, a 95 % threshold is the largest score
FEWEST_FOR_WILSON = 40  # below, and at 0 or all, the exact interval


# ---- AUROC ----


@dataclass(frozen=True)
class Auroc:
    """How often an unknown image scores above a known one.

    Attributes:
        value: In [0, 1], ties counted half; None if one of the sets is empty.
        interval: 95 %; None if value is, and for constant scores, about which nothing more can be said.
        n_id: Known images.
        n_ood: Unknown images.
        constant: Whether all scores are equal.
        reason: Why value or interval is missing or conservative; None if neither is.
    """

    value: float | None
    interval: Interval | None
    n_id: int
    n_ood: int
    constant: bool
    reason: str | None


def auroc(id_scores: Floats, ood_scores: Floats) -> Auroc:
    """AUROC by mid-ranks, with DeLong's interval on the logit scale.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), by ranks (Sun and Xu, IEEE Signal Processing Letters 21
    (2014)); the logit keeps the interval in [0, 1] and its coverage near 95 % at 20 images. If the sets do not overlap,
    the variance is 0 and the bound is one-sided, .05^(1/n) with n the smaller set: n of n successes.

    Args:
        id_scores: (n0,) of known images.
        ood_scores: (n1,) of unknown images.

    Raises:
        TransferkitError: If scores are NaN or infinite; says how many.
    """
    known, unknown = _finite(id_scores, "in-distribution"), _finite(ood_scores, "out-of-distribution")
    sizes = len(known), len(unknown)
    if not all(sizes):
        side = "in-distribution" if not sizes[0] else "out-of-distribution"
        return Auroc(None, None, *sizes, constant=False, reason=f"no {side} images")
    if min(known.min(), unknown.min()) == max(known.max(), unknown.max()):
        return Auroc(0.5, None, *sizes, constant=True, reason="constant: every image has the same score")
    of_known, of_unknown = _placements(known, unknown)
    value = float(of_unknown.mean())
    interval, reason = _auroc_interval(value, of_known, of_unknown)
    return Auroc(value, interval, *sizes, constant=False, reason=reason)


def _placements(known: Floats, unknown: Floats) -> tuple[Floats, Floats]:
    """Share of unknown scores above each known one (n0,), and of known scores below each unknown one (n1,)."""
    known_sorted, unknown_sorted = np.sort(known), np.sort(unknown)
    return 1 - _share_below(known, unknown_sorted), _share_below(unknown, known_sorted)


def _share_below(scores: Floats, ascending: Floats) -> Floats:
    """Share of `ascending` below each score, ties counted half."""
    below, up_to = (np.searchsorted(ascending, scores, side=side) for side in ("left", "right"))
    shares: Floats = (below + up_to) / (2 * len(ascending))
    return shares


def _auroc_interval(value: float, of_known: Floats, of_unknown: Floats) -> tuple[Interval, str | None]:
    fewest = min(len(of_known), len(of_unknown))
    bound = (1 - CONFIDENCE) ** (1 / fewest)
    if value == 1:
        return Interval(bound, 1.0), "the sets do not overlap: one-sided bound"
    if value == 0:
        return Interval(0.0, 1 - bound), "the sets do not overlap: one-sided bound"
    if fewest == 1:
        return Interval(0.0, 1.0), "one image has no spread: any value is possible"
    variance = of_known.var(ddof=1) / len(of_known) + of_unknown.var(ddof=1) / len(of_unknown)
    half = float(stats.norm.isf((1 - CONFIDENCE) / 2) * np.sqrt(variance) / (value * (1 - value)))
    centre = special.logit(value)
    return Interval(float(special.expit(centre - half)), float(special.expit(centre + half))), None


# ---- thresholds ----


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
    scores = _finite(val_scores, "validation")
    if len(scores) < FEWEST_VAL:
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
        return FprId(None, None, None, f"{len(val_scores)} validation images; a threshold needs {FEWEST_VAL}")
    return FprId(threshold, accepted(ood_scores, threshold), accepted(test_scores, threshold), None)


def accepted(scores: Floats, threshold: float) -> Proportion:
    """Share of images with scores up to the threshold.

    Raises:
        TransferkitError: If scores are not finite.
    """
    return share(_finite(scores, "given") <= threshold)


def share(hits: Bools) -> Proportion:
    """How many are true, with a 95 % interval: Wilson's, or Clopper and Pearson's below 40 and at none or all."""
    count, n = int(np.sum(hits)), len(hits)
    exact = n < FEWEST_FOR_WILSON or count in (0, n)
    interval = clopper_pearson(count, n, CONFIDENCE) if exact else wilson(count, n, CONFIDENCE)
    return Proportion(count, n, count / n if n else float("nan"), interval)


# ---- scores, checked ----


def _finite(scores: Floats, what: str) -> Floats:
    """(N,) float64."""
    checked: Floats = np.asarray(scores, dtype=np.float64)
    if checked.ndim != 1:
        raise TransferkitError(f"The {what} scores have shape {checked.shape}; expected one number per image, (N,).")
    bad = int((~np.isfinite(checked)).sum())
    if bad:
        raise TransferkitError(
            f"{bad} of {len(checked)} {what} scores are NaN or infinite; a score must be a number for every image."
        )
    return checked


def _ceil(product: float) -> int:
    """The next whole number, where 0.95 * 60 counts as 57 however it is rounded."""
    return math.ceil(round(product, 9))
