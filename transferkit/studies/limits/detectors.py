"""The detectors of a run, fitted on its train images, and how well their scores tell unknown images apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from transferkit import ood
from transferkit.metrics.openood import aupr_out, fpr95_openood
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.roc import auroc
from transferkit.metrics.statistics import Bounds
from transferkit.metrics.thresholds import fpr95_id, threshold_at
from transferkit.runtime.array_types import Floats
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.studies.limits.shares import Share, as_share, bounds
from transferkit.studies.limits.subject import LimitsSubject

AUPR_PREVALENCE = 0.5
LOGIT_TWINS = ("entropy", "margin", "gen")  # with two classes these rank images exactly as msp does


@dataclass(frozen=True)
class Detectors:
    """Fitted scores, larger = more out-of-distribution, and why others are off."""

    scores: Mapping[str, ood.Score]
    off: Mapping[str, str]

    def of(self, outputs: Outputs, where: str) -> dict[str, Floats]:
        """Every score of some images.

        Raises:
            TransferkitError: If a score is not finite; they are never dropped.
        """
        scores = {name: np.asarray(score(outputs), dtype=np.float64) for name, score in self.scores.items()}
        for name, values in scores.items():
            require_finite(values, name, where)
        return scores


@dataclass(frozen=True)
class OwnScores:
    """Every score of the run's val and test images, by detector."""

    val: Mapping[str, Floats]
    test: Mapping[str, Floats]


def require_finite(values: Floats, name: str, where: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        TransferkitError: With their number.
    """
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise TransferkitError(
            f"The score {name} is not finite for {bad} of {counted(len(values), 'image')} of {where}. "
            "Nothing is dropped in "
            "silence: the outputs are damaged; run the limits again with --overwrite."
        )


def fit_detectors(subject: LimitsSubject, names: Sequence[str] | None = None) -> Detectors:
    """The default detectors, or those named, fitted on train and calibrated on val alone."""
    names = ood.DEFAULTS if names is None else names
    wanted, off = list(names), {}
    if len(subject.test.class_names) == 2:
        off = {name: "with two classes it ranks images exactly as msp does" for name in names if name in LOGIT_TWINS}
        wanted = [name for name in names if name not in off]
    settings = ood.OodSettings()
    scores, reasons = ood.fit_all(wanted, subject.train, subject.val, subject.head, settings)
    return Detectors(scores, {**off, **reasons})


def thresholds_of(val_scores: Mapping[str, Floats]) -> dict[str, float | None]:
    """The threshold of every detector that accepts 95 % of val."""
    return {name: threshold_at(scores) for name, scores in val_scores.items()}


# ---- one score on one set ----


@dataclass(frozen=True)
class ScoreRow:
    """How well one score tells unknown images apart; None where a number is not defined.

    Attributes:
        constant: Whether all scores are equal.
        threshold: That accepts 95 % of val.
        fpr95_id: Share of unknown images that it accepts; `id_accepted` of the run's test images.
        fpr95_openood: The literature's: known images flagged where 95 % of the unknown ones are.
        auroc_native: Of the same images in their own size.
    """

    auroc: float | None
    auroc_interval: Bounds | None
    constant: bool
    threshold: float | None
    fpr95_id: float | None
    fpr95_id_interval: Bounds | None
    id_accepted: Share | None
    fpr95_openood: float | None
    aupr_out: float | None
    auroc_native: float | None = None


def score_row(val: Floats, test: Floats, unknown: Floats) -> ScoreRow:
    """AUROC, the share of unknown images accepted at val's 95 %, and the literature's FPR95, with intervals."""
    separation, fpr = auroc(test, unknown), fpr95_id(val, test, unknown)
    openood = fpr95_openood(test, unknown, resamples=0)
    return ScoreRow(
        auroc=separation.value,
        auroc_interval=bounds(separation.interval),
        constant=separation.constant,
        threshold=fpr.threshold,
        fpr95_id=fpr.ood_accepted.value if fpr.ood_accepted else None,
        fpr95_id_interval=fpr.ood_accepted.interval.bounds if fpr.ood_accepted else None,
        id_accepted=as_share(fpr.id_accepted) if fpr.id_accepted else None,
        fpr95_openood=openood.value,
        aupr_out=aupr_out(test, unknown, AUPR_PREVALENCE, resamples=0).value,
    )
