"""Errors among accepted answers where some inputs show unknown things: the table to decide by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from transferkit import ood
from transferkit.metrics.open_set import open_world
from transferkit.metrics.statistics import Bounds
from transferkit.runtime.array_types import Bools
from transferkit.studies.limits.detectors import OwnScores
from transferkit.studies.limits.leave_out import HeldOutReport
from transferkit.studies.limits.out_of_distribution import ScoredSet, accepted_of
from transferkit.studies.limits.settings import LimitsSettings
from transferkit.studies.limits.shares import NotMeasured
from transferkit.studies.limits.subject import LimitsSubject

Kind = Literal["set", "held out"]


@dataclass(frozen=True)
class OpenWorldCell:
    """The error among accepted images at one share of unknown inputs; None where nothing is accepted."""

    prevalence: float
    error: float | None
    interval: Bounds | None


@dataclass(frozen=True)
class OpenWorldRow:
    """What one kind of unknown images does.

    Attributes:
        kind: A set from outside, or the held-out classes.
        accepted_unknown: Share of them.
        safe_prevalence: Up to this share of them the error stays at or below the target.
    """

    kind: Kind
    set: str
    n: int
    accepted_unknown: float
    cells: tuple[OpenWorldCell, ...]
    safe_prevalence: float
    safe_interval: Bounds


@dataclass(frozen=True)
class OpenWorldTable:
    """What one threshold does.

    Attributes:
        score: `shipped`, or the detector's name.
        known_accepted: Share of the run's own test images.
        known_error: Of these; None where none is accepted.
    """

    score: str
    known_accepted: float
    known_error: float | None
    rows: tuple[OpenWorldRow, ...]


@dataclass(frozen=True)
class OpenWorldReport:
    """The tables to decide by, for an error rate to stay below and shares of unknown inputs."""

    target: float
    prevalence: tuple[float, ...]
    tables: tuple[OpenWorldTable, ...]


def open_world_report(
    scored_sets: Sequence[ScoredSet],
    held_out: HeldOutReport | NotMeasured,
    subject: LimitsSubject,
    own: OwnScores,
    thresholds: Mapping[str, float | None],
    settings: LimitsSettings,
) -> OpenWorldReport:
    """The decision table for every set and the held-out classes, with the shipped threshold and the summary score's.

    Args:
        scored_sets: Sets of unknown images.
        held_out: What leaving classes out gave.
        subject: The run under test.
        own: Scores of the run's own images.
        thresholds: Of every detector, those that accept 95 % of val.
        settings: Shares of unknown images to reckon with, and the error rate to stay below.
    """
    score = ood.summary_score(own.test)
    wrong = ~subject.test.is_right
    tables = []
    for name, threshold in {"shipped": subject.limits.threshold(), score: thresholds[score]}.items():
        if threshold is None:
            continue
        is_shipped = name == "shipped"
        accepted = accepted_of(subject, subject.test)[0] if is_shipped else own.test[name] <= threshold
        members = {
            part.name: accepted_of(subject, part.outputs)[0] if is_shipped else part.scores[name] <= threshold
            for part in scored_sets
        }
        rows = [_row("set", title, member, accepted, wrong, settings) for title, member in members.items()]
        left_out = accepted_when_held_out(held_out, subject.limits.score if is_shipped else name)
        if left_out is not None and isinstance(held_out, HeldOutReport):
            title = f"held-out classes ({len(held_out.rows)})"
            rows.append(_row("held out", title, left_out, accepted, wrong, settings))
        error = float(wrong[accepted].mean()) if accepted.any() else None
        tables.append(OpenWorldTable(name, float(accepted.mean()), error, tuple(rows)))
    return OpenWorldReport(settings.target_risk, settings.prevalence, tuple(tables))


def accepted_when_held_out(held_out: HeldOutReport | NotMeasured, score: str) -> Bools | None:
    """Whether each image of a class was accepted by the model that did not know the class; None where not counted."""
    if isinstance(held_out, NotMeasured):
        return None
    shares = [row.scores[score].accepted if score in row.scores else None for row in held_out.rows]
    counts = [share for share in shares if share is not None]
    if not counts or len(counts) < len(shares):
        return None
    return np.arange(sum(count.n for count in counts)) < sum(count.hits for count in counts)


def _row(
    kind: Kind, name: str, members: Bools, accepted: Bools, wrong: Bools, settings: LimitsSettings
) -> OpenWorldRow:
    """The error among accepted images at each share of unknown inputs, and the largest share that is safe."""
    measured = open_world(accepted, ~wrong, members, settings.prevalence, settings.target_risk, settings.seed)
    cells = [
        OpenWorldCell(share, *((error[0], error[1].bounds) if error else (None, None)))
        for share, error in measured.error.items()
    ]
    return OpenWorldRow(
        kind=kind,
        set=name,
        n=len(members),
        accepted_unknown=measured.ood_accepted.value,
        cells=tuple(cells),
        safe_prevalence=measured.safe_prevalence,
        safe_interval=measured.safe_interval.bounds,
    )
