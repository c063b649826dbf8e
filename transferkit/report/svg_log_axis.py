"""Logarithmic axes as inline SVG, with ticks on any range however short."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from transferkit.report import svg_lines
from transferkit.report.label_places import CHARACTER_PX
from transferkit.report.svg_lines import Frame

STEPS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))  # of a power of ten, the sparsest that gives enough ticks
ENOUGH = 3
MOST = 7
APART_PX = 8.0  # between the texts of two ticks


def log_ticks(low: float, high: float) -> list[float]:
    """Round values between two powers of ten, at least two, few enough to be read.

    Args:
        low: Logarithm to the base 10 of the lower end of the axis.
        high: That of its upper end.

    Example:
        >>> log_ticks(0.0, 1.0), log_ticks(0.0, 3.0), log_ticks(0.301, 0.342)
        ([1.0, 2.0, 5.0, 10.0], [1.0, 10.0, 100.0, 1000.0], [2.0, 2.05, 2.1, 2.15])
    """
    for steps in STEPS:
        powers = range(math.floor(low), math.ceil(high) + 1)
        values = [step * 10.0**power for power in powers for step in steps]
        inside = [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]
        if len(inside) >= ENOUGH:
            return inside[:: math.ceil(len(inside) / MOST)]
    return [value for value in svg_lines.ticks(10.0**low, 10.0**high) if value > 0]


def log_axis(frame: Frame, written: Callable[[float], str], unit: str) -> Markup:
    """The ticks of a frame whose x is the logarithm of a quantity, and its title.

    Args:
        frame: Its `x_range` holds logarithms to the base 10.
        written: A value for reading, its unit included.
        unit: Of the values where those as `written` are too coarse to be told apart.
    """
    values = log_ticks(*frame.x_range)
    texts = [written(value) for value in values]
    is_coarse = len(set(texts)) < len(texts)
    shown = [f"{value:.6g}" for value in values] if is_coarse else texts
    title = f"{unit}, log scale" if is_coarse else "log scale"
    places = [frame.place(math.log10(value), frame.y_range[0])[0] for value in values]
    tick = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>')
    below = svg_lines.HEIGHT - svg_lines.BOTTOM + 15
    ticks = [tick.format(x, below, text) for x, text in _apart(places, shown)]
    end = Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>')
    return Markup("").join([*ticks, end.format(svg_lines.WIDTH - svg_lines.RIGHT, svg_lines.HEIGHT - 2, title)])


def _apart(places: Sequence[float], texts: Sequence[str]) -> list[tuple[float, str]]:
    """The ticks from the left, without those whose text would touch the one before."""
    shown: list[tuple[float, str]] = []
    for x, text in zip(places, texts, strict=True):
        half = CHARACTER_PX * len(text) / 2
        if not shown or x - half >= shown[-1][0] + CHARACTER_PX * len(shown[-1][1]) / 2 + APART_PX:
            shown.append((x, text))
    return shown
