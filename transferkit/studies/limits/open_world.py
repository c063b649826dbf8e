"""Errors among accepted answers where some inputs show unknown things: the table to decide by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transferkit import ood
from transferkit.metrics.open_set import open_world
from transferkit.runtime.array_types import Bools, Floats
from transferkit.studies.limits.out_of_distribution import ScoredSet, accepted_of
from transferkit.studies.limits.settings import LimitsSettings
from transferkit.studies.limits.shares import bounds
from transferkit.studies.limits.subject import LimitsSubject


def open_world_report(
    scored_sets: Sequence[ScoredSet],
    held_out: Mapping[str, Any],
    subject: LimitsSubject,
    own: Mapping[str, Mapping[str, Floats]],
    thresholds: Mapping[str, float | None],
    settings: LimitsSettings,
) -> dict[str, Any]:
    """The decision table for every set and the held-out classes, with the shipped threshold and the summary score's.

    Args:
        scored_sets: Sets of unknown images.
        held_out: What leaving classes out gave.
        subject: The run under test.
        own: Scores of the run's `val` and `test` images by detector.
        thresholds: Of every detector, those that accept 95 % of val.
        settings: Shares of unknown images to reckon with, and the error rate to stay below.
    """
    score = ood.summary_score(own["test"])
    wrong = ~subject.test.is_right
    tables: dict[str, Any] = {"target": settings.target_risk, "prevalence": list(settings.prevalence), "tables": []}
    for name, threshold in {"shipped": subject.limits.threshold(), score: thresholds[score]}.items():
        if threshold is None:
            continue
        is_shipped = name == "shipped"
        accepted = accepted_of(subject, subject.test)[0] if is_shipped else own["test"][name] <= threshold
        members = {
            part.name: accepted_of(subject, part.outputs)[0] if is_shipped else part.scores[name] <= threshold
            for part in scored_sets
        }
        rows = [{"kind": "set", **_row(title, member, accepted, wrong, settings)} for title, member in members.items()]
        left_out = accepted_when_held_out(held_out, subject.limits.score if is_shipped else name)
        if left_out is not None:
            title = f"held-out classes ({len(held_out['rows'])})"
            rows.append({"kind": "held out", **_row(title, left_out, accepted, wrong, settings)})
        error = float(wrong[accepted].mean()) if accepted.any() else None
        facts = {"score": name, "known_accepted": float(accepted.mean()), "known_error": error}
        tables["tables"].append({**facts, "rows": rows})
    return tables


def accepted_when_held_out(held_out: Mapping[str, Any], score: str) -> Bools | None:
    """Whether each image of a class was accepted by the model that did not know the class; None where not counted."""
    counts = [row["scores"].get(score, {}).get("accepted") for row in held_out.get("rows", [])]
    if not counts or any(count is None for count in counts):
        return None
    hits, n = (sum(int(count[key]) for count in counts) for key in ("hits", "n"))
    return np.arange(n) < hits


def _row(name: str, members: Bools, accepted: Bools, wrong: Bools, settings: LimitsSettings) -> dict[str, Any]:
    """The error among accepted images at each share of unknown inputs, and the largest share that is safe."""
    measured = open_world(accepted, ~wrong, members, settings.prevalence, settings.target_risk, settings.seed)
    cells = [
        {"prevalence": share, "error": error[0], "interval": bounds(error[1])}
        if error
        else {"prevalence": share, "error": None, "interval": None}
        for share, error in measured.error.items()
    ]
    return {
        "set": name,
        "n": len(members),
        "accepted_unknown": measured.ood_accepted.value,
        "cells": cells,
        "safe_prevalence": measured.safe_prevalence,
        "safe_interval": bounds(measured.safe_interval),
    }
