"""Meaningless images: noise, blank colours, scrambled pictures. How many does the model answer with confidence?"""

from __future__ import annotations

from typing import Any

import numpy as np

from transferkit import nonsense
from transferkit.limitations.shares import share_of
from transferkit.limitations.subject import Subject
from transferkit.limitations.unknown import Detectors, accepted_of
from transferkit.ood import SUMMARY_SCORE

IMAGES = 200  # of each kind
KEPT_MEANING = ("inverted", "rotated_180")  # still pictures of something


def meaningless(
    subject: Subject, detectors: Detectors, thresholds: dict[str, float | None], seed: int
) -> list[dict[str, Any]]:
    """One row per kind of image: how many the shipped threshold accepts, and what they are called."""
    sets = nonsense.image_sets(subject.images["test"], seed, IMAGES)
    return [_row(name, images, subject, detectors, thresholds) for name, images in sets.items()]


def _row(
    name: str, images: Any, subject: Subject, detectors: Detectors, thresholds: dict[str, float | None]
) -> dict[str, Any]:
    outputs = subject.store.outputs(images, f"nonsense: {name}")
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
    name: str, outputs: Any, detectors: Detectors, thresholds: dict[str, float | None]
) -> dict[str, Any] | None:
    threshold = thresholds.get(name)
    if threshold is None or name not in detectors.scores:
        return None
    return share_of(np.asarray(detectors.scores[name](outputs)) <= threshold)
