"""Accuracy there over accuracy here, on probit axes, where models of one kind tend to lie on a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from transferkit.metrics.statistics.distributions import normal_quantile
from transferkit.report.svg_lines import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, WIDTH, Frame

# Taori et al., NeurIPS 2020 (arXiv:2007.00644), draw accuracies so; Miller et al., ICML 2021 (arXiv:2107.04649), too.
TICKS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
AIR = 0.12  # of the axes' length, around the points
LEAST_EXTENT = 0.4  # in standard deviations; one point alone would have none


@dataclass(frozen=True)
class Point:
    """One model on one set.

    Attributes:
        here: Accuracy on its own test images of the same classes.
        there: Accuracy on the other images.
        interval: 95 % of the latter; none is drawn where it is empty.
        name: For the tooltip and the file.
        colour: Number of the set (or of the model).
    """

    here: float
    there: float
    interval: tuple[float, ...]
    name: str
    colour: int = 0


@dataclass(frozen=True)
class ProbitLine:
    """probit(there) = slope * probit(here) + offset, and how far from it still counts as noise, in accuracy."""

    slope: float
    offset: float
    colour: int = 0


def probit(accuracy: float) -> float:
    """The standard normal quantile; accuracies of 0 and 1 are drawn at .05 and 99.95 %.

    Example:
        >>> round(probit(0.5), 3), round(probit(0.8413), 3)
        (0.0, 1.0)
    """
    return float(normal_quantile(min(max(accuracy, 0.0005), 0.9995)))


def frame_of(points: Sequence[Point]) -> Frame:
    """Room for all points and their intervals, in standard deviations."""
    across = _range([probit(point.here) for point in points])
    up = _range([probit(value) for point in points for value in (point.there, *point.interval)])
    return Frame(across, up)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    air = max(AIR * (high - low), (LEAST_EXTENT - (high - low)) / 2)
    return low - air, high + air


def ticks_within(extent: tuple[float, float]) -> list[float]:
    """The accuracies worth a number on an axis."""
    return [value for value in TICKS if extent[0] <= probit(value) <= extent[1]]


def scatter(points: Sequence[Point], lines: Sequence[ProbitLine] = ()) -> Markup:
    """The points with their intervals over the diagonal, where nothing would be lost, and lines of other models."""
    frame = frame_of(points)
    parts = [_axes(frame), _straight(frame, 1.0, 0.0, "diagonal")]
    for line in lines:
        opening = Markup('<g class="s{}">{}</g>')
        parts.append(opening.format(line.colour % COLOURS, _straight(frame, line.slope, line.offset, "line")))
    parts += [_drawn(frame, point) for point in points]
    changes = "; ".join(f"{point.name} {100 * point.here:.1f} to {100 * point.there:.1f} %" for point in points)
    opening = Markup('<svg class="curve" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    label = f"Accuracy on other images over accuracy on own ones: {changes}"
    return opening.format(WIDTH, HEIGHT, label) + Markup("").join(parts) + Markup("</svg>")


def _axes(frame: Frame) -> Markup:
    tick = Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{:g}</text>')
    grid = Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>')
    parts = []
    for value in ticks_within(frame.y_range):
        _, y = frame.place(frame.x_range[0], probit(value))
        parts += [grid.format(LEFT, y, WIDTH - RIGHT, y), tick.format(LEFT - 6, y + 4, "end", 100 * value)]
    for value in ticks_within(frame.x_range):
        x, _ = frame.place(probit(value), frame.y_range[0])
        parts.append(tick.format(x, HEIGHT - BOTTOM + 15, "middle", 100 * value))
    title = Markup('<text class="tick" x="{}" y="{}" text-anchor="end">own test images, %</text>')
    return Markup("").join(parts) + title.format(WIDTH - RIGHT, HEIGHT - 2)


def ends(frame: Frame, slope: float, offset: float) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Where a line enters and leaves the frame, in standard deviations; None where it misses it."""
    (left, right), (low, high) = frame.x_range, frame.y_range
    bounds = sorted(((low - offset) / slope, (high - offset) / slope)) if slope else [left, right]
    start, stop = max(left, bounds[0]), min(right, bounds[1])
    return None if start >= stop else ((start, slope * start + offset), (stop, slope * stop + offset))


def _straight(frame: Frame, slope: float, offset: float, kind: str) -> Markup:
    line_ends = ends(frame, slope, offset)
    if line_ends is None:
        return Markup("")
    (x1, y1), (x2, y2) = (frame.place(*end) for end in line_ends)
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, x1, y1, x2, y2)


def _drawn(frame: Frame, point: Point) -> Markup:
    x, y = frame.place(probit(point.here), probit(point.there))
    parts = []
    if point.interval:
        low, high = (frame.place(0, probit(bound))[1] for bound in point.interval)
        parts.append(Markup('<line class="range" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(x, low, high))
    words = f"{point.name}: {100 * point.here:.1f} % here, {100 * point.there:.1f} % there"
    dot = Markup('<circle class="dot" cx="{}" cy="{}" r="4"><title>{}</title></circle>')
    parts.append(dot.format(x, y, words))
    return Markup('<g class="s{}">{}</g>').format(point.colour % COLOURS, Markup("").join(parts))
