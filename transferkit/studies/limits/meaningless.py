"""Meaningless images: noise, blank colours, scrambled pictures. How many does the model answer with confidence?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from transferkit.metrics.outputs import Outputs
from transferkit.ood import SUMMARY_SCORE
from transferkit.runtime.console import SILENT, Console
from transferkit.studies.limits import nonsense
from transferkit.studies.limits.out_of_distribution import Detectors, accepted_of
from transferkit.studies.limits.shares import share_of
from transferkit.studies.limits.subject import Subject

IMAGES = 200  # of each kind
KEPT_MEANING = ("inverted", "rotated_180")  # still pictures of something


def meaningless(
    subject: Subject, detectors: Detectors, thresholds: dict[str, float | None], seed: int, console: Console
) -> list[dict[str, Any]]:
    """One row per kind of image: how many the shipped threshold accepts, and what they are called."""
    sets = nonsense.image_sets(subject.images["test"], seed, IMAGES)
    quiet = replace(subject.store, console=SILENT)
    rows = []
    with console.progress("meaningless images", sum(map(len, sets.values()))) as progress:
        for name, images in sets.items():
            rows.append(_row(name, quiet.outputs(images, name), subject, detectors, thresholds))
            progress.advance(len(images), name.replace("_", " "))
    return rows


def _row(
    name: str, outputs: Outputs, subject: Subject, detectors: Detectors, thresholds: dict[str, float | None]
) -> dict[str, Any]:
    accepted, _ = accepted_of(subject, outputs)
    called = np.bincount(outputs.predictions, minlength=len(outputs.class_names))
    most = int(called.argmax())
    return {
        "name": name,
        "is_meaningless": name not in KEPT_MEANING,
        "n": len(outputs),
        "accepted": share_of(accepted),
        "accepted_by_summary_score": _accepted_by(SUMMARY_SCORE, outputs, detectors, thresholds),
        "confidence": float(outputs.confidences.mean()),
        "called": outputs.class_names[most],
        "called_share": float(called[most] / len(outputs)),
    }


def _accepted_by(
    name: str, outputs: Outputs, detectors: Detectors, thresholds: dict[str, float | None]
) -> dict[str, Any] | None:
    threshold = thresholds.get(name)
    if threshold is None or name not in detectors.scores:
        return None
    return share_of(np.asarray(detectors.scores[name](outputs)) <= threshold)
