"""Accuracy over the logarithm of a cost as inline SVG: marks, intervals, names that do not collide, Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from transferkit.report import svg_lines
from transferkit.report.label_places import Box, PlacedLabel, place_labels
from transferkit.report.short_names import shortened
from transferkit.report.svg_lines import Frame
from transferkit.report.svg_log_axis import log_axis
from transferkit.report.svg_marks import Style, mark

NAME_CHARACTERS = 20


@dataclass(frozen=True)
class CostPoint:
    """One mark.

    Attributes:
        cost: Above 0.
        accuracy: In [0, 1].
        interval: Of the accuracy.
        name: Beside the mark.
        words: For who points at it.
    """

    cost: float
    accuracy: float
    interval: tuple[float, float]
    name: str
    words: str
    style: Style


def accuracy_over_cost(
    points: Sequence[CostPoint], title: str, written: Callable[[float], str], unit: str, has_front: bool = True
) -> Markup:
    """Points with their intervals over the logarithm of a cost, the Pareto front as steps behind them."""
    frame = _frame(points)
    places = [(math.log10(point.cost), 100 * point.accuracy) for point in points]
    parts = [frame.axes([], svg_lines.ticks(*frame.y_range), "", "{:.6g}".format), log_axis(frame, written, unit)]
    if has_front:
        parts.append(_front(frame, [places[index] for index in pareto_front(places)]))
    labels = place_labels(
        [frame.place(*place) for place in places],
        [shortened(point.name, NAME_CHARACTERS) for point in points],
        Box(svg_lines.LEFT, 0, svg_lines.WIDTH, svg_lines.HEIGHT - svg_lines.BOTTOM),
        [_whisker_box(frame, point) for point in points],
    )
    parts += [_drawn(frame, point, label) for point, label in zip(points, labels, strict=True)]
    return svg_lines.svg(title, parts)


def _frame(points: Sequence[CostPoint]) -> Frame:
    costs = [math.log10(point.cost) for point in points]
    bounds = [100 * bound for point in points for bound in point.interval]
    air, room = 0.1 * (max(bounds) - min(bounds)) or 1.0, max(0.18 * (max(costs) - min(costs)), 0.02)
    return Frame((min(costs) - room, max(costs) + room), (max(0.0, min(bounds) - air), min(100.0, max(bounds) + air)))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other one beats in both cost (lower is better) and value, by rising cost.

    Example:
        >>> pareto_front([(1, 0.5), (2, 0.4), (3, 0.9), (3, 0.8)])
        [0, 2]
    """
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def _front(frame: Frame, front: Sequence[tuple[float, float]]) -> Markup:
    """Steps along the front: what accuracy each cost can buy."""
    corners = [front[0]]
    for before, after in pairwise(front):
        corners += [(after[0], before[1]), after]
    corners.append((frame.x_range[1], front[-1][1]))
    points = " ".join("{},{}".format(*frame.place(*corner)) for corner in corners)
    return Markup('<polyline class="front" points="{}"/>').format(points)


def _ends(frame: Frame, point: CostPoint) -> tuple[float, float, float]:
    """Px from the left, and those from the top of the interval's ends, the upper one first."""
    low, high = (frame.place(math.log10(point.cost), 100 * bound) for bound in point.interval)
    return low[0], high[1], low[1]


def _whisker_box(frame: Frame, point: CostPoint) -> Box:
    x, top, bottom = _ends(frame, point)
    return Box(x - 2, top, x + 2, bottom)


def _drawn(frame: Frame, point: CostPoint, label: PlacedLabel | None) -> Markup:
    x, top, bottom = _ends(frame, point)
    place = frame.place(math.log10(point.cost), 100 * point.accuracy)
    whisker = Markup('<line class="range" x1="{0}" y1="{1}" x2="{0}" y2="{2}"/>').format(x, bottom, top)
    parts = [whisker, mark(point.style, place, point.words), _named(label, place, point.name) if label else ""]
    return Markup('<g class="{}">{}</g>').format(point.style.classes, Markup("").join(parts))


def _named(label: PlacedLabel, place: tuple[float, float], name: str) -> Markup:
    text = Markup('<text class="tick label" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        label.x, label.baseline, label.anchor, shortened(name, NAME_CHARACTERS)
    )
    leader = Markup('<line class="leader" x1="{}" y1="{}" x2="{}" y2="{}"/>')
    return (leader.format(*place, label.x, label.baseline - 4) if label.has_leader else Markup("")) + text
