"""How a series looks in every chart: colour tells its backbone, shape and dashes its method; no two look the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

Point = tuple[float, float]

COLOURS = ("#0b5394", "#b84a00", "#00755a", "#8c3f87", "#8a6d00", "#c2185b", "#0083b0", "#56616d")  # as in page.css
DASHES = ("", "7 3", "2.5 3", "9 3 2 3", "14 4")  # as in page.css
MATPLOTLIB_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h", "p")
RADIUS = 4.0  # px


def _polygon(corners: int, turned: float = 0.0, inner: float = 1.0) -> list[Point]:
    """Corners on a circle of radius 1, every second one at radius `inner`; the first one is at the top."""
    angles = [2 * math.pi * (index / corners + turned) for index in range(corners)]
    radii = [inner if index % 2 else 1.0 for index in range(corners)]
    return [(radius * math.sin(angle), -radius * math.cos(angle)) for angle, radius in zip(angles, radii, strict=True)]


def _plus(turned: float) -> list[Point]:
    arm, half = 1.15, 0.4
    quarter = [(-half, -arm), (half, -arm), (half, -half)]
    corners = [point for turn in range(4) for point in _turned(quarter, turn / 4)]
    return _turned(corners, turned)


def _turned(points: Sequence[Point], turn: float) -> list[Point]:
    cosine, sine = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    return [(x * cosine - y * sine, x * sine + y * cosine) for x, y in points]


SHAPES: tuple[Sequence[Point], ...] = (
    _polygon(24),  # a circle
    _polygon(4, 1 / 8),
    _polygon(3),
    _polygon(4),
    _polygon(3, 1 / 2),
    _plus(0),
    _plus(1 / 8),
    _polygon(10, inner=0.45),
    _polygon(6),
    _polygon(5, 1 / 2),
)


@dataclass(frozen=True)
class Style:
    """How one series is drawn.

    Attributes:
        colour: Position in `COLOURS`.
        shape: Position in `SHAPES`; from `len(SHAPES)` on they are hollow.
    """

    colour: int = 0
    shape: int = 0

    @property
    def classes(self) -> str:
        """The classes of the style sheet that give a series its colour and its dashes."""
        return f"k{self.colour} d{self.shape % len(DASHES)}"

    @property
    def is_hollow(self) -> bool:
        """Whether the mark is an outline."""
        return self.shape // len(SHAPES) % 2 == 1

    @property
    def hex_colour(self) -> str:
        """The colour for a figure on white."""
        return COLOURS[self.colour]

    @property
    def marker(self) -> str:
        """The shape as matplotlib names it."""
        return MATPLOTLIB_MARKERS[self.shape % len(SHAPES)]


def styles(kinds: Sequence[tuple[str, str]]) -> list[Style]:
    """The style of each series by its (backbone, method): one colour per backbone, one shape per method.

    Series of the same backbone and method, and backbones beyond the eighth, take the next shape that is free.

    Example:
        >>> styles([("resnet18", "probe"), ("resnet18", "finetune"), ("vgg16", "probe"), ("vgg16", "probe")])
        [Style(colour=0, shape=0), Style(colour=0, shape=1), Style(colour=1, shape=0), Style(colour=1, shape=2)]
    """
    backbones = list(dict.fromkeys(backbone for backbone, _ in kinds))
    methods = list(dict.fromkeys(method for _, method in kinds))
    chosen: list[Style] = []
    for backbone, method in kinds:
        colour = backbones.index(backbone) % len(COLOURS)
        wanted = [methods.index(method), *range(len(methods), len(methods) + len(kinds))]
        chosen.append(next(style for shape in wanted if (style := Style(colour, shape)) not in chosen))
    return chosen


def mark(style: Style, place: Point, words: str = "", radius: float = RADIUS) -> Markup:
    """The mark of a series at a place in px, with words for who points at it; its group gives the colour."""
    x, y = place
    scale = radius * (1.15 if style.shape % len(SHAPES) else 1.0)  # a circle looks larger than its corners
    corners = " ".join(f"{x + scale * dx:.2f},{y + scale * dy:.2f}" for dx, dy in SHAPES[style.shape % len(SHAPES)])
    kind = "dot hollow" if style.is_hollow else "dot"
    title = Markup("<title>{}</title>").format(words) if words else ""
    return Markup('<polygon class="{}" points="{}">{}</polygon>').format(kind, corners, title)


@dataclass(frozen=True)
class KeyEntry:
    """One line of a legend: the mark as it is drawn, and what it stands for."""

    name: str
    swatch: Markup


def key(named: Sequence[tuple[str, Style]], has_lines: bool = False) -> list[KeyEntry]:
    """A legend of the series that a chart shows, drawn with their marks, and their lines where it has lines."""
    return [KeyEntry(name, _swatch(style, has_lines)) for name, style in named]


def _swatch(style: Style, has_lines: bool) -> Markup:
    width = 34 if has_lines else 14
    line = Markup('<line class="line" x1="0" y1="7" x2="{}" y2="7"/>').format(width) if has_lines else ""
    return Markup(
        '<svg class="curve swatch {}" viewBox="0 0 {w} 14" width="{w}" height="14" aria-hidden="true">{}{}</svg>'
    ).format(style.classes, line, mark(style, (width / 2, 7)), w=width)
