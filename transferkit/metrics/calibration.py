"""Whether images answered with 80 % confidence are right in 80 % of the cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.metrics.grouped import grouped_proportion
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.probabilities import mean_or_nan
from transferkit.metrics.proportions import Proportion
from transferkit.metrics.statistics import Interval, Units
from transferkit.runtime.array_types import Bools, Floats

BINS = 15  # Guo et al., ICML 2017 (arXiv:1706.04599), section 5


@dataclass(frozen=True)
class ReliabilityBin:
    """Images of similar confidence.

    Attributes:
        low: Confidences lie above this (equal width), or are at least this (equal mass).
        high: Confidences lie at or below this.
        n: Images in the bin, at least 1.
        confidence: Their mean confidence.
        accuracy: Their accuracy, with Wilson's interval, or that of the bootstrap over groups.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: Proportion


def reliability(outputs: Outputs, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Bins of equal width, ((b - 1) / bins, b / bins]; empty ones are left out.

    Closed on the right, so that a confidence of exactly 1 belongs to the last bin.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    member = np.searchsorted(edges[1:-1], outputs.confidences, side="left")
    return tuple(
        _bin(outputs, np.flatnonzero(member == b), float(edges[b]), float(edges[b + 1])) for b in np.unique(member)
    )


def reliability_equal_mass(outputs: Outputs, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Bins with equally many images; equal confidences stay together, in the lower bin."""
    confidences = outputs.confidences
    order = np.argsort(confidences, kind="stable")
    return tuple(
        _bin(outputs, part, float(confidences[part[0]]), float(confidences[part[-1]]))
        for part in _equal_mass(order, confidences[order], bins)
    )


def _equal_mass(order: npt.NDArray[np.intp], ascending: Floats, bins: int) -> Iterator[npt.NDArray[np.intp]]:
    """Parts of `order` cut where `array_split` cuts, each cut moved right past equal confidences."""
    sizes = [len(part) for part in np.array_split(order, bins)]
    cuts = np.cumsum(sizes)[:-1]
    cuts = cuts[cuts > 0]
    cuts = np.searchsorted(ascending, ascending[cuts - 1], side="right")
    return (part for part in np.split(order, np.unique(cuts)) if len(part))


def _bin(outputs: Outputs, members: npt.NDArray[np.intp], low: float, high: float) -> ReliabilityBin:
    among = np.zeros(len(outputs), dtype=np.bool_)
    among[members] = True
    right = grouped_proportion(outputs.is_right, outputs.groups, among)
    return ReliabilityBin(low, high, len(members), float(outputs.confidences[members].mean()), right)


def ece(outputs: Outputs, bins: int = BINS) -> float:
    """Expected calibration error: mean gap of accuracy and confidence over bins of equal width, in [0, 1].

    Guo et al., ICML 2017 (arXiv:1706.04599), eq. 3. It is not 0 for a calibrated classifier and few images:
    compare it with `ece_if_calibrated`.
    """
    return _gap(reliability(outputs, bins))


def ece_equal_mass(outputs: Outputs, bins: int = BINS) -> float:
    """The same over bins with equally many images (Nguyen and O'Connor, EMNLP 2015, arXiv:1508.05154)."""
    return _gap(reliability_equal_mass(outputs, bins))


def _gap(bins: tuple[ReliabilityBin, ...]) -> float:
    n = sum(b.n for b in bins)
    return sum(b.n * abs(b.accuracy.value - b.confidence) for b in bins) / n if n else float("nan")


def ece_if_calibrated(outputs: Outputs, seed: int, draws: int = 200, bins: int = BINS) -> Interval:
    """The 95 % of ECE values that chance gives a classifier whose confidences are exactly right.

    Hits are drawn with the stated confidences as probabilities (Broecker and Smith, Weather and Forecasting 22
    (2007), consistency resampling). An ECE inside is not distinguishable from calibrated. Where images have groups,
    hits of a group are not drawn one by one: the gaps of hit and confidence keep their size, and their signs turn by
    whole groups.
    """
    member = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], outputs.confidences, side="left")
    return _if_calibrated(outputs, member, seed, draws)


def ece_equal_mass_if_calibrated(outputs: Outputs, seed: int, draws: int = 200, bins: int = BINS) -> Interval:
    """The same for `ece_equal_mass`."""
    order = np.argsort(outputs.confidences, kind="stable")
    member = np.empty(len(order), np.int64)
    for number, part in enumerate(_equal_mass(order, outputs.confidences[order], bins)):
        member[part] = number
    return _if_calibrated(outputs, member, seed, draws)


def _if_calibrated(outputs: Outputs, member: npt.NDArray[np.integer[Any]], seed: int, draws: int) -> Interval:
    """The 95 % of gaps over these bins where chance alone parts hits from confidences."""
    if not len(outputs):
        return Interval(float("nan"), float("nan"))
    gaps = _gaps_by_chance(outputs, np.random.default_rng(seed))
    values = [np.abs(np.bincount(member, gap)).sum() / len(member) for gap in islice(gaps, draws)]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))


def _gaps_by_chance(outputs: Outputs, generator: np.random.Generator) -> Iterator[Floats]:
    """(N,) again and again, hit minus confidence of every image if the confidences were right."""
    confidences, numbers = outputs.confidences, Units.of(len(outputs), outputs.groups).numbers
    gaps: Floats = outputs.is_right - confidences
    while True:
        if numbers is None:
            yield (generator.random(len(confidences)) < confidences) - confidences
        else:
            yield gaps * generator.choice([-1.0, 1.0], size=int(numbers.max()) + 1)[numbers]


def debiased_rms_calibration_error(outputs: Outputs, bins: int = BINS) -> float:
    """Root mean square gap over bins of equal mass, less what chance adds to it; 0 where chance explains all of it.

    Kumar, Liang and Ma, NeurIPS 2019 (arXiv:1909.10155), section 5: sqrt of sum n_b / n [(conf_b - acc_b)^2 -
    acc_b (1 - acc_b) / (n_b - 1)]. Bins of one image cannot be corrected and are left out; NaN without others.
    """
    known = [b for b in reliability_equal_mass(outputs, bins) if b.n > 1]
    n = sum(b.n for b in known)
    if not n:
        return float("nan")
    gaps = [
        b.n * ((b.confidence - b.accuracy.value) ** 2 - b.accuracy.value * (1 - b.accuracy.value) / (b.n - 1))
        for b in known
    ]
    return float(np.sqrt(max(0.0, sum(gaps) / n)))


def classwise_ece(outputs: Outputs, bins: int = BINS) -> float:
    """Mean over classes of the gap between a class's probability and its share, over bins of equal mass.

    Nixon et al., CVPR workshops 2019 (arXiv:1904.01685), section 3.
    """
    if not len(outputs):
        return float("nan")
    probabilities = np.exp(outputs.log_probabilities)
    return mean_or_nan(
        np.array([_class_gap(outputs.require_labels() == k, p, bins) for k, p in enumerate(probabilities.T)])
    )


def _class_gap(is_class: Bools, probability: Floats, bins: int) -> float:
    order = np.argsort(probability, kind="stable")
    parts = _equal_mass(order, probability[order], bins)
    return float(sum(abs((probability[part] - is_class[part]).sum()) for part in parts) / len(order))


@dataclass(frozen=True)
class ClassConfidence:
    """How far the answers with one class keep their promise.

    Attributes:
        name: Class name.
        confidence: Mean confidence of the images given this class.
        accuracy: Share of them that is right, with n and interval.
        gap: confidence - accuracy; above 0 the answers are overconfident.
    """

    name: str
    confidence: float
    accuracy: Proportion
    gap: float


def confidence_by_class(outputs: Outputs) -> tuple[ClassConfidence, ...]:
    """One row for every class that was predicted, in class order."""
    classes = len(outputs.class_names)
    given = np.bincount(outputs.predictions, minlength=classes)
    total = np.bincount(outputs.predictions, outputs.confidences, classes)
    rows = []
    for label in np.flatnonzero(given):
        accuracy = grouped_proportion(outputs.is_right, outputs.groups, outputs.predictions == label)
        confidence = float(total[label] / given[label])
        rows.append(ClassConfidence(outputs.class_names[label], confidence, accuracy, confidence - accuracy.value))
    return tuple(rows)
