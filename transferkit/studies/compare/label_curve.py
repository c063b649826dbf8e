"""Accuracy over the number of labels: one comparison of the arms at each number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from transferkit.metrics.grouped import accuracy_interval, accuracy_interval_over_seeds
from transferkit.metrics.statistics import Bounds, Over
from transferkit.recipe import Labels, Study
from transferkit.runs.run_directory import Run
from transferkit.studies.compare.measure import compare, correct_answers
from transferkit.studies.compare.results import Comparison, LabelCurve, LabelPoint
from transferkit.studies.compare.verdict import ArmInWords, evidence_in_words, in_points

SUBSETS = (
    "Labels are counted per class and include val. Each seed draws its own; the arms share them, and smaller numbers "
    "are parts of larger ones. So ± over seeds covers the choice of the labels as well as the training."
)


def label_curve(
    study: Study, cells: Mapping[str, Sequence[Run]], reference: str, over: Over | None = None
) -> LabelCurve:
    """The arms of a study with `labels`; a number of labels without runs is left out.

    An arm's interval is over seeds and images where it has two seeds: other labels, another training, other images.
    """
    candidates = (label_point(study, cells, reference, count, over) for count in study.labels)
    points = tuple(point for point in candidates if point)
    first = points[0].comparison
    return LabelCurve(
        reference=reference,
        n=first.n,
        over=first.over,
        class_names=first.class_names,
        names=tuple(name for name in study.arms if any(_has(point, name) for point in points)),
        points=points,
        verdict=verdict(points),
        notes=tuple(dict.fromkeys(note for point in points for note in point.comparison.notes)),
        subsets=SUBSETS,
        groups=first.groups,
    )


def _has(point: LabelPoint, name: str) -> bool:
    return any(arm.name == name for arm in point.comparison.arms)


def label_point(
    study: Study, cells: Mapping[str, Sequence[Run]], reference: str, count: Labels, over: Over | None
) -> LabelPoint | None:
    """The arms at one number of labels; None where no run came to an end."""
    arms = {arm: cells[cell] for cell, (arm, its) in study.cells().items() if its == count and cells.get(cell)}
    if not arms:
        return None
    comparison = compare(arms, reference if reference in arms else next(iter(arms)), over)
    rows = tuple(replace(arm, interval=interval(arms[arm.name])) for arm in comparison.arms)
    images = next(iter(arms.values()))[0].facts.data.n
    return LabelPoint(count, images.train, images.val, replace(comparison, arms=rows))


def interval(runs: Sequence[Run]) -> Bounds:
    """Of an arm's mean accuracy: over seeds and images (or groups), or over these alone where there is one seed."""
    tested = [run.outputs("test") for run in runs]
    measure = accuracy_interval if len(runs) < 2 else accuracy_interval_over_seeds
    return measure(correct_answers(tested), tested[0].groups).bounds


def verdict(points: Sequence[LabelPoint]) -> str:
    """Who leads at each number of labels."""
    leads = "; ".join(f"{words(point.labels)}: {leader(point.comparison)}" for point in points)
    seeds = (arm.seeds for point in points for arm in point.comparison.arms)
    first = points[0].comparison
    return f"{leads} ({evidence_in_words(seeds, first.over, first.n, first.groups)})."


def words(labels: Labels) -> str:
    """A number of labels in words.

    Example:
        >>> words(1), words(50), words("all")
        ('1 label per class', '50 labels per class', 'all labels')
    """
    return "all labels" if labels == "all" else f"{labels} label{'s' * (labels != 1)} per class"


def leader(comparison: Comparison) -> str:
    """The winner with its distance, those that cannot be told apart, or the only arm's accuracy."""
    first, arms = comparison.leaders, comparison.arms
    if len(arms) == 1:
        return f"{arms[0].name} {100 * arms[0].mean:.1f} %"
    subjects = {arm.name: ArmInWords.of(arm, comparison.over) for arm in arms}
    if len(first) == 1:
        nearest = next(pair for pair in comparison.pairs if pair.a == first[0])
        leads = "leads" if subjects[first[0]].verb == "is" else "lead"
        gap = in_points(nearest.mean, nearest.interval)
        return f"{subjects[first[0]].words} {leads}, {gap} before {subjects[nearest.b].words}"
    tied = [subjects[name].words for name in first]
    return f"no clear winner: {', '.join(tied[:-1])} and {tied[-1]} cannot be told apart"
