"""Images of classes the model does not know: are they told apart, accepted, and what are they called?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from transferkit import ood
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.roc import auroc
from transferkit.metrics.statistics import Bounds
from transferkit.runtime.array_types import Bools, Floats
from transferkit.studies.limits import published
from transferkit.studies.limits.calls import Calls, calls
from transferkit.studies.limits.contamination import Contamination, Overlap, WithoutSuspects, contamination_of
from transferkit.studies.limits.detectors import Detectors, OwnScores, ScoreRow, score_row
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.low_level import LowLevel, low_level_auroc
from transferkit.studies.limits.published import PublishedUnknown
from transferkit.studies.limits.shares import Share, bounds, share_of
from transferkit.studies.limits.subject import LimitsSubject

NEAR_BELOW = 95  # median percentile of the k-NN score under val
HISTOGRAM_BINS = 40


@dataclass(frozen=True)
class ScoredSet:
    """What is known about one set of unknown images before anything is counted."""

    name: str
    image_set: ImageSet
    outputs: Outputs
    scores: Mapping[str, Floats]
    native_scores: Mapping[str, Floats] | None
    contamination: Contamination


def score_set(image_set: ImageSet, subject: LimitsSubject, detectors: Detectors) -> ScoredSet:
    """What the network and the detectors say about a set, at the run's size and in its own."""
    name, outputs = image_set.name, subject.store.outputs(image_set.images, image_set.name)
    native = None
    if image_set.native is not None and len(image_set.native):
        native = detectors.of(subject.store.outputs(image_set.native, f"{name}, own size"), name)
    contamination = contamination_of(image_set, outputs, subject)
    return ScoredSet(name, image_set, outputs, detectors.of(outputs, name), native, contamination)


@dataclass(frozen=True)
class Histogram:
    """The shipped score of right, wrong and unknown images in common bins, as shares; and the shipped threshold."""

    edges: tuple[float, ...]
    shares: dict[str, tuple[float, ...]]
    threshold: float | None


@dataclass(frozen=True)
class UnknownSet:
    """Everything about one set of unknown images.

    Attributes:
        n: Images; `n_native` of them were looked at in their own size too.
        near: Whether they are hard to tell apart, by rule.
        scores: By detector.
        accepted: By the shipped threshold; None without one.
        confidence: Mean.
        overlap: Do they show known classes?
        calls: What they are called.
        histogram: How unusual they are.
    """

    name: str
    source: str
    n: int
    classes: int
    native_px: int
    n_native: int
    notes: tuple[str, ...]
    near: bool
    scores: dict[str, ScoreRow]
    accepted: Share | None
    confidence: float
    low_level: LowLevel
    overlap: Overlap
    calls: Calls
    histogram: Histogram


@dataclass(frozen=True)
class MeanAuroc:
    """Mean AUROC by score over some sets."""

    sets: tuple[str, ...]
    auroc: dict[str, float | None]


@dataclass(frozen=True)
class DetectorRow:
    """What one detector is good for.

    Attributes:
        strangers: Mean AUROC over the sets of unknown images; None without one.
        errors: AUROC of the run's wrong answers on test against its right ones; None where all are right, or wrong.
    """

    name: str
    strangers: float | None
    errors: float | None
    errors_interval: Bounds | None


@dataclass(frozen=True)
class UnknownReport:
    """All sets of unknown images with every score.

    Attributes:
        summary_score: The score that stands for all.
        off: Scores that could not be fitted, with the reason.
        notes: What the detectors say about themselves.
        means: Over `near` and over `far` sets.
        published: What others measured, where the task is the same.
        detectors: What each is good for, for strangers and for errors; empty in reports of earlier versions.
    """

    scores: tuple[str, ...]
    summary_score: str
    off: dict[str, str]
    notes: dict[str, tuple[str, ...]]
    sets: tuple[UnknownSet, ...]
    means: dict[str, MeanAuroc]
    published: PublishedUnknown | None
    detectors: tuple[DetectorRow, ...] = ()


def unknown_report(
    scored_sets: Sequence[ScoredSet],
    subject: LimitsSubject,
    detectors: Detectors,
    own: OwnScores,
) -> UnknownReport:
    """All sets of unknown images with every score, and the means over near and far ones."""
    names = list(detectors.scores)
    sets = [unknown_set_report(scored_set, subject, detectors, own) for scored_set in scored_sets]
    return UnknownReport(
        scores=tuple(names),
        summary_score=ood.summary_score(names),
        off=dict(detectors.off),
        notes={name: tuple(score.notes) for name, score in detectors.scores.items() if score.notes},
        sets=tuple(sets),
        means=means(sets, names),
        published=published.published_report([part.name for part in scored_sets], subject)
        if published.is_cifar10(subject)
        else None,
        detectors=detector_rows(names, sets, own, subject.test.is_right),
    )


def detector_rows(
    names: Sequence[str], sets: Sequence[UnknownSet], own: OwnScores, right: Bools
) -> tuple[DetectorRow, ...]:
    """Every detector for strangers and for errors; the first need sets of unknown images, the second test alone."""
    strangers = _mean_auroc(sets, names).auroc
    errors = {name: auroc(own.test[name][right], own.test[name][~right]) for name in names}
    return tuple(
        DetectorRow(name, strangers[name], errors[name].value, bounds(errors[name].interval)) for name in names
    )


def unknown_set_report(
    scored_set: ScoredSet, subject: LimitsSubject, detectors: Detectors, own: OwnScores
) -> UnknownSet:
    """Everything about one set of unknown images.

    Args:
        scored_set: The set.
        subject: The run under test.
        detectors: Fitted.
        own: Scores of the run's own images.
    """
    image_set, known = scored_set.image_set, scored_set.contamination.overlap
    accepted, scores = accepted_of(subject, scored_set.outputs)
    return UnknownSet(
        name=scored_set.name,
        source=image_set.source,
        n=len(image_set),
        classes=len(image_set.images.class_names),
        native_px=image_set.native_px,
        n_native=len(image_set.native) if image_set.native is not None else 0,
        notes=image_set.notes,
        near=is_near(own.val, scored_set.scores),
        scores={name: scored_row(name, scored_set, own) for name in detectors.scores},
        accepted=share_of(accepted) if subject.limits.percentiles else None,
        confidence=float(scored_set.outputs.confidences.mean()),
        low_level=low_level_auroc(subject.images.test, image_set.images),
        overlap=replace(known, without=without_suspects(scored_set, detectors, own)),
        calls=calls(image_set.images, scored_set.outputs, accepted),
        histogram=score_histogram(subject, scores),
    )


def scored_row(name: str, scored_set: ScoredSet, own: OwnScores) -> ScoreRow:
    """What one score says of a set, at the run's size and in its own."""
    row = score_row(own.val[name], own.test[name], scored_set.scores[name])
    return replace(row, auroc_native=native_auroc(own.test[name], scored_set.native_scores, name))


def native_auroc(test: Floats, native: Mapping[str, Floats] | None, name: str) -> float | None:
    """The AUROC of the same images in their own size; sharper than upsampled ones, they are told apart by that."""
    return None if native is None else auroc(test, native[name]).value


def accepted_of(subject: LimitsSubject, outputs: Outputs) -> tuple[Bools, Floats]:
    """Which images the shipped threshold accepts, and their shipped scores; all where there is no threshold."""
    scores = subject.limits.scores(outputs)
    return accepted_scores(subject, scores), scores


def accepted_scores(subject: LimitsSubject, scores: Floats) -> Bools:
    """Which of these shipped scores the shipped threshold accepts; all where there is no threshold."""
    threshold = subject.limits.threshold()
    return np.ones(len(scores), dtype=bool) if threshold is None else scores <= threshold


def is_near(val: Mapping[str, Floats], scores: Mapping[str, Floats]) -> bool:
    """Whether the set is near by rule: its median k-NN score lies below the 95th percentile of val's.

    The rule needs k-NN; where that is off, the summary score stands in.
    """
    name = next(name for name in ("knn", ood.SUMMARY_SCORE, "msp") if name in scores)
    return bool(np.mean(val[name] <= np.median(scores[name])) * 100 < NEAR_BELOW)


# ---- without images that may show known classes ----


def without_suspects(scored_set: ScoredSet, detectors: Detectors, own: OwnScores) -> WithoutSuspects | None:
    """The table again without the images that may show known classes; None where there are none, or no others."""
    suspects = scored_set.contamination.suspects
    if not suspects.any() or suspects.all():
        return None
    table = {
        name: score_row(own.val[name], own.test[name], scored_set.scores[name][~suspects]) for name in detectors.scores
    }
    return WithoutSuspects(int((~suspects).sum()), table)


# ---- how unusual they are, and means over sets ----


def score_histogram(subject: LimitsSubject, unknown: Floats) -> Histogram:
    """The shipped score of right, wrong and unknown images in common bins, as shares."""
    scores = subject.limits.scores(subject.test)
    right = subject.test.is_right
    groups = {"right": scores[right], "wrong": scores[~right], "unknown": unknown}
    low, top = np.quantile(np.concatenate([scores, unknown]), (0.001, 0.999))
    edges = np.linspace(low, max(top, low + 1e-6), HISTOGRAM_BINS + 1)
    shares = {name: _binned(values, edges) for name, values in groups.items()}
    return Histogram(tuple(edges.tolist()), shares, subject.limits.threshold())


def _binned(values: Floats, edges: Floats) -> tuple[float, ...]:
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return tuple((counts / max(len(values), 1)).tolist())


def means(sets: Sequence[UnknownSet], names: Sequence[str]) -> dict[str, MeanAuroc]:
    """The unweighted mean AUROC over near and over far sets, by score."""
    return {
        kind: _mean_auroc([row for row in sets if row.near is near], names)
        for kind, near in (("near", True), ("far", False))
    }


def _mean_auroc(members: Sequence[UnknownSet], names: Sequence[str]) -> MeanAuroc:
    values = {name: [auroc for row in members if (auroc := row.scores[name].auroc) is not None] for name in names}
    aurocs = {name: float(np.mean(known)) if known else None for name, known in values.items()}
    return MeanAuroc(tuple(row.name for row in members), aurocs)
