"""What abstaining would buy: errors among the most familiar images, promises that val allows, candidate sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.metrics import conformal
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import SelectiveResult
from transferkit.metrics.selective import COVERAGES, guaranteed_point
from transferkit.ood.rejection import Rejection
from transferkit.runtime.array_types import Bools, Floats
from transferkit.runtime.records import Measure
from transferkit.studies.limits.shares import Share, as_share, share_of
from transferkit.studies.limits.subject import LimitsSubject

ACCEPTANCES = (1.0, 0.99, 0.95, 0.9, 0.8)
TARGETS = (0.05, 0.02, 0.01, 0.005)
DELTA = 0.05  # of guaranteed_point: the chance that a promise is wrong


@dataclass(frozen=True)
class Acceptance:
    """What answering a share of the images gives.

    Attributes:
        asked: Of val, in (0, 1].
        threshold: That accepts it; None for all images, and where there is none, for `reason`.
        accepted: On test.
        error: Of those.
    """

    asked: float
    threshold: float | None
    accepted: Share | None = None
    error: Share | None = None
    reason: str = ""


@dataclass(frozen=True)
class Promise:
    """The largest coverage at which val guarantees an error rate.

    Attributes:
        target: The error rate.
        coverage: In (0, 1]; None where val guarantees it at none.
        threshold: Confidence from which images are answered.
        accepted: On test.
        error: Of those.
        needs: Val images that it takes without any error, where there is no coverage.
    """

    target: float
    coverage: float | None
    n_val: int
    threshold: float | None = None
    accepted: Share | None = None
    error: Share | None = None
    needs: int | None = None


@dataclass(frozen=True)
class SelectiveReport:
    """What abstaining would buy.

    Attributes:
        aurc: Area under the risk-coverage curve; `oracle_aurc` is that of the best order.
        coverage: Of the curve's points; likewise `risk`.
        error: Of all test images.
        acceptances: By the shipped score.
        targets: Promises at several error rates, and at that of the settings, which is `promise` too.
    """

    aurc: Measure
    augrc: Measure
    error_auroc: float | None
    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    n: int
    error: Share
    oracle_aurc: float | None
    acceptances: tuple[Acceptance, ...]
    targets: tuple[Promise, ...]
    promise: Promise


@dataclass(frozen=True)
class WorstClass:
    """The class whose images' candidate sets hold it least often."""

    name: str | None
    coverage: float | None


@dataclass(frozen=True)
class CandidateSets:
    """Sets that hold the true class for 1 - alpha of the images; `reason` says why there are none."""

    alpha: float
    n_val: int
    reason: str = ""
    coverage: Share | None = None
    mean_size: float | None = None
    empty: Share | None = None
    single: Share | None = None
    worst_class: WorstClass | None = None


def selective(subject: LimitsSubject, target: float, evaluated: SelectiveResult) -> SelectiveReport:
    """What answering only familiar images gives; thresholds come from val, results from test."""
    val, test, limits = subject.val, subject.test, subject.limits
    scores, wrong = limits.scores(test), ~test.is_right
    return SelectiveReport(
        aurc=evaluated.aurc,
        augrc=evaluated.augrc,
        error_auroc=evaluated.error_auroc,
        coverage=evaluated.coverage,
        risk=evaluated.risk,
        n=len(test),
        error=share_of(wrong, test.groups),
        oracle_aurc=oracle_aurc(wrong),
        acceptances=tuple(_acceptance(limits, asked, scores, test) for asked in ACCEPTANCES),
        targets=tuple(promise(val, test, goal) for goal in dict.fromkeys((*TARGETS, target))),
        promise=promise(val, test, target),
    )


def _acceptance(limits: Rejection, asked: float, scores: Floats, test: Outputs) -> Acceptance:
    threshold = np.inf if asked == 1 else limits.threshold(asked)
    if threshold is None:
        return Acceptance(asked, None, reason=limits.reason)
    accepted = scores <= threshold
    wrong = share_of(~test.is_right, test.groups, accepted)
    return Acceptance(asked, None if asked == 1 else threshold, share_of(accepted, test.groups), wrong)


def promise(val: Outputs, test: Outputs, target: float) -> Promise:
    """The largest coverage at which val guarantees an error rate of at most `target`, and what test then shows.

    "None" is a legal answer; then it is said how many val images it takes without any error.
    """
    point = guaranteed_point(val, target)
    if point is None:
        needed = int(np.ceil(np.log(DELTA / COVERAGES) / np.log1p(-target)))
        return Promise(target, None, len(val), needs=needed)
    accepted = test.confidences >= point.threshold
    error = share_of(~test.is_right, test.groups, accepted)
    return Promise(target, point.coverage, len(val), point.threshold, share_of(accepted, test.groups), error)


def oracle_aurc(wrong: Bools) -> float | None:
    """The area under the risk-coverage curve if every error were the least confident image."""
    n, errors = len(wrong), int(wrong.sum())
    if not n:
        return None
    answered = np.arange(1, n + 1)
    return float((np.maximum(0, answered - (n - errors)) / answered).mean())


def conformal_rows(subject: LimitsSubject, alphas: Sequence[float] = (0.1, 0.05)) -> tuple[CandidateSets, ...]:
    """Candidate sets that hold the true class for 1 - alpha of the images, learnt on val, counted on test."""
    return tuple(_conformal(subject.val, subject.test, alpha) for alpha in alphas)


def _conformal(val: Outputs, test: Outputs, alpha: float) -> CandidateSets:
    calibration = conformal.calibrate_lac(val, alpha)
    if calibration.reason:
        return CandidateSets(alpha, calibration.n, calibration.reason)
    quality = conformal.set_quality(conformal.lac_sets(calibration, test), test)
    worst = quality.worst_coverage
    return CandidateSets(
        alpha=alpha,
        n_val=calibration.n,
        coverage=as_share(quality.coverage),
        mean_size=quality.mean_size,
        empty=as_share(quality.empty),
        single=as_share(quality.single),
        worst_class=WorstClass(quality.worst_class, worst.value if worst else None),
    )
