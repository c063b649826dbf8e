"""Moved, scaled, turned, cropped and covered images: in which range does the model bear it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.data.images import Images
from transferkit.metrics.outputs import Outputs
from transferkit.runtime.console import Console
from transferkit.studies.limits import nuisance
from transferkit.studies.limits.corrupted import outputs_of
from transferkit.studies.limits.image_sets import sample
from transferkit.studies.limits.shares import share_of
from transferkit.studies.limits.subject import Subject

IMAGES = 400
SAFE_DROP = 0.05  # of accuracy
RELIANCE = 2.0  # times the share that guessing gives


def sweeps(subject: Subject, seed: int, console: Console) -> dict[str, Any]:
    """Accuracy and changed answers along every sweep, the range that is safe, and what the background alone gives."""
    images = sample(subject.images["test"], IMAGES, seed)
    clean = outputs_of(subject.test, images)
    steps = sum(len(sweep.values) for sweep in nuisance.SWEEPS.values()) + 1
    rows = []
    with console.progress("nuisance sweeps", steps * len(images)) as progress:
        for name, sweep in nuisance.SWEEPS.items():
            cells = [cell(value, one(subject, images, name, value, seed), clean) for value in sweep.values]
            rows.append({"name": name, "unit": sweep.unit, "cells": cells, **safe_range(cells, sweep.neutral, clean)})
            progress.advance(len(sweep.values) * len(images), name.replace("_", " "))
        background = background_only(subject, images, seed)
        progress.advance(len(images))
    return {
        "n": len(images),
        "accuracy": share_of(clean.predictions == clean.labels),
        "sweeps": rows,
        "background": background,
    }


def one(subject: Subject, images: Images, name: str, value: float, seed: int) -> Outputs:
    """What the network says about images after one step of a sweep."""

    def change(pixels: Any, first: int) -> Any:
        return nuisance.changed(pixels, name, value, seed, first)

    return subject.store.changed(images, change, f"nuisance {name} {value:g}, seed {seed}")


def cell(value: float, outputs: Outputs, clean: Outputs) -> dict[str, Any]:
    """Accuracy, and how many answers differ from those on the unchanged images."""
    return {
        "value": value,
        "accuracy": share_of(outputs.predictions == outputs.labels),
        "flipped": share_of(outputs.predictions != clean.predictions),
    }


def safe_range(cells: Sequence[dict[str, Any]], neutral: float, clean: Outputs) -> dict[str, Any]:
    """The steps around the unchanged image up to which accuracy stays within 5 points."""
    least = float((clean.predictions == clean.labels).mean()) - SAFE_DROP
    is_safe = {each["value"]: each["accuracy"]["value"] >= least for each in cells}
    low = _reach(sorted((value for value in is_safe if value < neutral), reverse=True), is_safe, neutral)
    high = _reach(sorted(value for value in is_safe if value > neutral), is_safe, neutral)
    words = "none" if low == high else f"{low:g} to {high:g}"
    return {"safe": [low, high], "safe_words": words}


def _reach(outwards: Sequence[float], is_safe: dict[float, bool], neutral: float) -> float:
    """The last safe step before the first one that is not."""
    reached = neutral
    for value in outwards:
        if not is_safe[value]:
            break
        reached = value
    return reached


def background_only(subject: Subject, images: Images, seed: int) -> dict[str, Any]:
    """Accuracy with the middle greyed out, beside guessing the commonest class."""
    outputs = one(subject, images, "background_only", nuisance.BACKGROUND_ONLY.values[0], seed)
    right = share_of(outputs.predictions == outputs.labels)
    chance = float(np.bincount(images.labels).max() / len(images))
    relies = right["interval"][0] > RELIANCE * chance
    words = "It relies on the background." if relies else "That shows no reliance on the background."
    return {"accuracy": right, "chance": chance, "relies": relies, "words": words}
