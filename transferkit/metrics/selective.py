"""What answering only the most confident images gives: risk, coverage and guarantees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.metrics.outputs import Outputs
from transferkit.metrics.probabilities import mean_or_nan
from transferkit.metrics.proportions import Proportion, proportion
from transferkit.metrics.statistics import clopper_pearson
from transferkit.runtime.array_types import Floats

COVERAGES = 20  # that a guarantee is looked for, fixed beforehand


@dataclass(frozen=True)
class RiskCoverage:
    """What answering only the k most confident images would give, for k = 1..N.

    Attributes:
        coverage: (N,) k / N.
        risk: (N,) error rate among the images answered.
        generalized_risk: (N,) errors answered / N, the chance that an image is answered and wrong.
    """

    coverage: Floats
    risk: Floats
    generalized_risk: Floats


def risk_coverage(outputs: Outputs) -> RiskCoverage:
    """The risk-coverage curve; images of equal confidence count as if in random order, so that it is unique."""
    errors = _expected_errors(outputs)
    answered = np.arange(1, len(errors) + 1)
    return RiskCoverage(answered / len(answered), np.cumsum(errors) / answered, np.cumsum(errors) / len(answered))


def aurc(outputs: Outputs) -> float:
    """Area under the risk-coverage curve: mean risk over all coverages, in [0, 1], lower is better.

    Geifman, Uziel and El-Yaniv, ICLR 2019 (arXiv:1805.08206); ties as in `risk_coverage`.
    """
    return mean_or_nan(risk_coverage(outputs).risk)


def augrc(outputs: Outputs) -> float:
    """Area under the generalized risk-coverage curve: e^2 / 2 for the best order, e / 2 for a random one.

    Traub et al., NeurIPS 2024 (arXiv:2407.01032); e is the error rate and the values hold for many images.
    """
    return mean_or_nan(risk_coverage(outputs).generalized_risk)


def _expected_errors(outputs: Outputs) -> Floats:
    """(N,) errors by falling confidence, averaged within equal confidences."""
    _, group, sizes = np.unique(-outputs.confidences, return_inverse=True, return_counts=True)
    wrong = np.bincount(group, ~outputs.is_right, minlength=len(sizes))
    return np.repeat(wrong / sizes, sizes)


def error_auroc(outputs: Outputs) -> float:
    """The chance that a random hit is more confident than a random mistake, ties counting half; NaN without either.

    Hendrycks and Gimpel, ICLR 2017 (arXiv:1610.02136), section 2: success against error. By the rank sum.
    """
    hits = outputs.is_right
    right, wrong = int(hits.sum()), int((~hits).sum())
    if not right or not wrong:
        return float("nan")
    ranks = _average_ranks(outputs.confidences)
    return float((ranks[hits].sum() - right * (right + 1) / 2) / (right * wrong))


def _average_ranks(values: Floats) -> Floats:
    """(N,) from 1 on; equal values share the mean of their places."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


@dataclass(frozen=True)
class OperatingPoint:
    """Answering the images of at least some confidence, and what that guarantees.

    Attributes:
        target: The error rate that must not be exceeded.
        coverage: Share of images answered.
        threshold: Least confidence of an image answered.
        answered: The images answered, and the errors among them as `hits`.
        bound: Upper bound of the error rate.
    """

    target: float
    coverage: float
    threshold: float
    answered: Proportion
    bound: float


def guaranteed_point(outputs: Outputs, target: float, delta: float = 0.05) -> OperatingPoint | None:
    """The largest of 20 coverages whose error rate stays below `target` with probability 1 - delta; None if none does.

    The bound is Clopper and Pearson's one-sided one, at delta / 20, so that all 20 hold together (Bonferroni). The
    coverages 5 %, 10 %, ..., 100 % are fixed beforehand (Geifman and El-Yaniv, NeurIPS 2017, arXiv:1705.08500, search
    them instead); images as confident as the last one answered are answered too.
    It holds for images like these alone.
    """
    confidences = -np.sort(-outputs.confidences)
    errors = np.cumsum(_expected_errors(outputs))
    for share in range(COVERAGES, 0, -1):
        wanted = int(np.ceil(share / COVERAGES * len(outputs) - 1e-9))
        if not wanted:
            continue
        n = int(np.searchsorted(-confidences, -confidences[wanted - 1], side="right"))
        wrong = round(float(errors[n - 1]))
        bound = clopper_pearson(wrong, n, 1 - 2 * delta / COVERAGES).high
        if bound <= target:
            return OperatingPoint(
                target, n / len(outputs), float(confidences[n - 1]), proportion(wrong, n), float(bound)
            )
    return None
