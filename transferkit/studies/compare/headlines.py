"""What a comparison or a label curve found, in one sentence for the head of its page."""

from __future__ import annotations

from collections.abc import Sequence

from transferkit.runtime.plurals import counted
from transferkit.studies.compare.results import Arm, Comparison, LabelCurve, LabelPoint
from transferkit.studies.compare.styles import by_accuracy

MOST_NAMED = 3  # arms that cannot be told apart and are all named


def comparison_headline(comparison: Comparison) -> str:
    """Who is best, if that is shown, and otherwise who cannot be told apart.

    Of arms whose seeds do not count as drawn by chance it is told what these runs did.
    """
    arms = by_accuracy(comparison.arms)
    leaders = [arm for arm in arms if arm.name in _leaders(comparison)]
    where = "" if comparison.over == "seeds" else ", in these runs"
    if len(arms) == 1:
        return f"{arms[0].name} gets {_percent(arms[0])} of {counted(comparison.n, 'test image')} right"
    if len(leaders) == 1:
        best, second = leaders[0], next(arm for arm in arms if arm is not leaders[0])
        claim = f"{best.name} beats {second.name}" if len(arms) == 2 else f"{best.name} is the best of {len(arms)}"
        against = "" if len(arms) == 2 else f" for {second.name}"
        return f"{claim}{where}: {_percent(best)} against {_percent(second)}{against}"
    if len(leaders) > MOST_NAMED:
        return f"No clear winner: the best {len(leaders)} of {len(arms)} cannot be told apart, {leaders[0].name} first"
    return f"No clear winner: {_joined([f'{arm.name} ({_percent(arm)})' for arm in leaders])} cannot be told apart"


def _leaders(comparison: Comparison) -> set[str]:
    """Arms that no other is shown to be better than."""
    beaten = {pair.b for pair in comparison.pairs if pair.shown}
    return set(comparison.leaders) or {arm.name for arm in comparison.arms} - beaten


def _percent(arm: Arm) -> str:
    return f"{100 * arm.mean:.1f} %"


def _joined(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def curve_headline(curve: LabelCurve) -> str:
    """How many labels one arm saves against another, as far as the intervals show it.

    Of all pairs of arms and numbers of labels, the one with the largest ratio of labels.
    """
    savings = [
        (many / few, few, better, worse, point)
        for better in curve.names
        for worse in curve.names
        for few, many, point in _savings(curve, better, worse)
    ]
    if not savings:
        return "At no number of labels are the arms shown to differ"
    _, few, better, worse, point = max(savings, key=lambda saving: saving[0])
    start = f"With {few:g} label{'s' * (few != 1)} per class, {better}"
    if point.labels == "all":
        return f"{start} gets more right than {worse} with all labels"
    return f"{start} gets what {worse} needs more than {point.labels} for"


def _savings(curve: LabelCurve, better: str, worse: str) -> list[tuple[float, float, LabelPoint]]:
    """Labels per class at which `better` is above `worse` with at least as many labels, which comes third."""
    there = {(id(point), arm.name): arm for point, arm in curve.lines()}
    savings = []
    for number, point in enumerate(curve.points):
        for other in curve.points[number:]:
            good, poor = there.get((id(point), better)), there.get((id(other), worse))
            if good and poor and point.labels != "all" and good.interval[0] > poor.interval[1]:
                classes = max(len(curve.class_names), 1)
                savings.append((float(point.labels), (other.n_train + other.n_val) / classes, other))
    return savings
