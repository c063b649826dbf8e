"""Sets of classes that hold the right one as often as promised: split-conformal prediction.

Calibrated on validation images that trained nothing, such sets hold the right class of at least 1 - alpha of further
images *of the same kind*, on average over images and calibrations. Nothing is promised for images of another kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from transferkit.metrics.outputs import Outputs
from transferkit.metrics.proportions import Proportion, share
from transferkit.runtime.array_types import Bools, Floats
from transferkit.runtime.errors import TransferkitError

FEWEST_OF_CLASS = 30  # images below which the coverage of one class says little


@dataclass(frozen=True)
class ConformalCalibration:
    """How improbable a class may be and still belong to the set.

    Attributes:
        alpha: Share of images whose set may miss the right class.
        quantile: Score up to which a class belongs to the set; infinity means every class does.
        n: Validation images.
        reason: Why the quantile is infinite, else None.
    """

    alpha: float
    quantile: float
    n: int
    reason: str | None


@dataclass(frozen=True)
class SetQuality:
    """What sets of classes do on labelled images.

    Attributes:
        coverage: Share of images whose set holds the right class.
        mean_size: Classes per set; NaN without images.
        empty: Share of sets without a class: the image is unlike all of them.
        single: Share of sets with one class.
        worst_class: Name of the class with the lowest coverage, among those with 30 images or, if there is none, with
            most images; None without images.
        worst_coverage: Its coverage.
    """

    coverage: Proportion
    mean_size: float
    empty: Proportion
    single: Proportion
    worst_class: str | None
    worst_coverage: Proportion | None


def fewest_images(alpha: float) -> int:
    """Validation images below which the only honest set is all classes.

    Example:
        >>> [fewest_images(alpha) for alpha in (0.1, 0.05, 0.01)]
        [9, 19, 99]

    Raises:
        TransferkitError: If alpha is not in (0, 1).
    """
    _check_alpha(alpha)
    return math.ceil(round((1 - alpha) / alpha, 9))


def calibrate_lac(val: Outputs, alpha: float) -> ConformalCalibration:
    """The score up to which classes are taken: least ambiguous sets.

    Sadinle, Lei and Wasserman, JASA 114 (2019) (arXiv:1609.00451), with -log p in place of 1 - p: the same sets, and no
    ties where the softmax saturates. Sets can be empty.

    Raises:
        TransferkitError: If alpha is not in (0, 1), or there is one class only.
    """
    return _calibrated(lac_scores(val)[np.arange(len(val)), val.require_labels()], alpha)


def lac_sets(calibration: ConformalCalibration, outputs: Outputs) -> Bools:
    """(N, C), the set of each image."""
    sets: Bools = lac_scores(outputs) <= calibration.quantile
    return sets


def lac_scores(outputs: Outputs) -> Floats:
    """(N, C), -log p of each class."""
    _require_classes(outputs)
    return -outputs.log_probabilities


def calibrate_aps(val: Outputs, alpha: float) -> ConformalCalibration:
    """The probability that must be gathered: adaptive prediction sets, larger where the classifier hesitates.

    Romano, Sesia and Candes, NeurIPS 2020 (arXiv:2006.02544), without their randomisation, which makes sets a little
    too large and reproducible.

    Raises:
        TransferkitError: If alpha is not in (0, 1), or there is one class only.
    """
    return _calibrated(aps_scores(val)[np.arange(len(val)), val.require_labels()], alpha)


def aps_sets(calibration: ConformalCalibration, outputs: Outputs) -> Bools:
    """(N, C), the set of each image."""
    sets: Bools = aps_scores(outputs) <= calibration.quantile
    return sets


def aps_scores(outputs: Outputs) -> Floats:
    """(N, C), probability of each class and all more probable ones together, ties in class order."""
    _require_classes(outputs)
    order = np.argsort(-outputs.log_probabilities, axis=1, kind="stable")
    gathered = np.take_along_axis(np.exp(outputs.log_probabilities), order, axis=1).cumsum(axis=1)
    scores = np.empty_like(gathered)
    np.put_along_axis(scores, order, gathered, axis=1)
    return scores


def set_quality(sets: Bools, outputs: Outputs) -> SetQuality:
    """Coverage and size of sets of classes.

    Args:
        sets: (N, C) bool.
        outputs: Of the same images, with their labels.

    Raises:
        TransferkitError: If the shapes differ.
    """
    if sets.shape != outputs.logits.shape:
        raise TransferkitError(
            f"Sets have shape {sets.shape}, logits {outputs.logits.shape}; expected the same images."
        )
    covered = sets[np.arange(len(outputs)), outputs.require_labels()]
    sizes = sets.sum(axis=1)
    mean_size = float(sizes.mean()) if len(sizes) else float("nan")
    return SetQuality(share(covered), mean_size, share(sizes == 0), share(sizes == 1), *_worst(covered, outputs))


def _worst(covered: Bools, outputs: Outputs) -> tuple[str | None, Proportion | None]:
    if not len(outputs):
        return None, None
    counts = np.bincount(outputs.require_labels(), minlength=len(outputs.class_names))
    judged = np.flatnonzero(counts >= min(FEWEST_OF_CLASS, counts.max()))
    coverages = {outputs.class_names[c]: share(covered[outputs.require_labels() == c]) for c in judged}
    worst = min(coverages, key=lambda name: coverages[name].value)
    return worst, coverages[worst]


def _calibrated(scores: Floats, alpha: float) -> ConformalCalibration:
    """The ceil((n + 1) (1 - alpha))-th smallest score of the right classes."""
    n, fewest = len(scores), fewest_images(alpha)
    if n < fewest:
        reason = f"{n} validation images; a promise of {1 - alpha:.3g} needs {fewest}, so every set is all classes"
        return ConformalCalibration(alpha, math.inf, n, reason)
    rank = math.ceil(round((n + 1) * (1 - alpha), 9))
    return ConformalCalibration(alpha, float(np.sort(scores)[rank - 1]), n, None)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise TransferkitError(f"alpha is {alpha}; expected a share of misses between 0 and 1, such as 0.1.")


def _require_classes(outputs: Outputs) -> None:
    if outputs.logits.shape[1] < 2:
        raise TransferkitError("With one class there is nothing to choose from; sets need two classes or more.")
