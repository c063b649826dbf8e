"""Accuracy over the number of labels: one comparison of the arms at each number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transferkit.metrics.statistics import Over, mean_accuracy_interval, mean_accuracy_interval_over_seeds
from transferkit.recipe import Labels, Study
from transferkit.runs.run_directory import Run
from transferkit.runtime.json_files import SCHEMAS
from transferkit.studies.compare.measure import Subject, compare, evidence_in_words, in_points

SUBSETS = (
    "Labels are counted per class and include val. Each seed draws its own; the arms share them, and smaller numbers "
    "are parts of larger ones. So ± over seeds covers the choice of the labels as well as the training."
)


def label_curve(
    study: Study, cells: Mapping[str, Sequence[Run]], reference: str, over: Over | None = None
) -> dict[str, Any]:
    """The content of comparison.json for a study with `labels`; a number of labels without runs is left out.

    An arm's interval is over seeds and images where it has two seeds: other labels, another training, other images.
    """
    points = [found for count in study.labels if (found := point(study, cells, reference, count, over))]
    first = points[0]["comparison"]
    return {
        "schema": SCHEMAS["comparison.json"],
        "kind": "curve",
        "reference": reference,
        "n": first["n"],
        "over": first["over"],
        "class_names": first["class_names"],
        "names": [
            arm for arm in study.arms if any(row["name"] == arm for one in points for row in one["comparison"]["arms"])
        ],
        "points": points,
        "verdict": verdict(points),
        "notes": list(dict.fromkeys(note for one in points for note in one["comparison"]["notes"])),
        "subsets": SUBSETS,
    }


def point(
    study: Study, cells: Mapping[str, Sequence[Run]], reference: str, count: Labels, over: Over | None
) -> dict[str, Any] | None:
    """The arms at one number of labels; None where no run came to an end."""
    arms = {arm: cells[cell] for cell, (arm, its) in study.cells().items() if its == count and cells.get(cell)}
    if not arms:
        return None
    comparison = compare(arms, reference if reference in arms else next(iter(arms)), over)
    for row in comparison["arms"]:
        row["interval"] = interval(arms[row["name"]])
    images = next(iter(arms.values()))[0].facts["data"]["n"]
    return {"labels": count, "n_train": images["train"], "n_val": images["val"], "comparison": comparison}


def interval(runs: Sequence[Run]) -> list[float]:
    """Of an arm's mean accuracy: over seeds and images, or over images where there is one seed."""
    outputs = [run.outputs("test") for run in runs]
    correct = np.stack([one.predictions == one.labels for one in outputs])
    found = mean_accuracy_interval(correct) if len(runs) < 2 else mean_accuracy_interval_over_seeds(correct)
    return [found.low, found.high]


def verdict(points: Sequence[Mapping[str, Any]]) -> str:
    """Who leads at each number of labels."""
    told = "; ".join(f"{words(one['labels'])}: {leader(one['comparison'])}" for one in points)
    rows = [row for one in points for row in one["comparison"]["arms"]]
    comparison = points[0]["comparison"]
    return f"{told} ({evidence_in_words(rows, comparison['over'], comparison['n'])})."


def words(labels: Labels) -> str:
    """A number of labels in words.

    Example:
        >>> words(1), words(50), words("all")
        ('1 label per class', '50 labels per class', 'all labels')
    """
    return "all labels" if labels == "all" else f"{labels} label{'s' * (labels != 1)} per class"


def leader(comparison: Mapping[str, Any]) -> str:
    """The winner with its distance, those that share the first place, or the only arm's accuracy."""
    first, rows = comparison["leaders"], comparison["arms"]
    if len(rows) == 1:
        return f"{rows[0]['name']} {100 * rows[0]['mean']:.1f} %"
    subjects = {row["name"]: Subject.of(row, comparison["over"]) for row in rows}
    if len(first) == 1:
        nearest = next(one for one in comparison["pairs"] if one["a"] == first[0])
        leads = "leads" if subjects[first[0]].verb == "is" else "lead"
        return f"{subjects[first[0]].words} {leads}, {in_points(nearest)} before {subjects[nearest['b']].words}"
    tied = [subjects[name].words for name in first]
    return f"no winner shown among {', '.join(tied[:-1])} and {tied[-1]}"
