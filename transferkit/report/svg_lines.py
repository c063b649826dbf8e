"""Lines over axes as inline SVG: classes only, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from transferkit.metrics.history import History
from transferkit.metrics.results import CalibrationBin, Scores, SelectiveResult
from transferkit.runs.facts import ProbeFacts
from transferkit.runtime.plurals import counted

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 30
DOTTED_UP_TO = 40  # points of a line that are marked one by one
MARK_HEIGHT = 13  # px from name to name
COLOURS = 8  # lines the style sheet can tell apart

Written = Callable[[float], str]
Drawn = tuple[str, Markup]  # title and drawing

# attribute of an epoch, title, factor, how a value is written
LOGGED: tuple[tuple[str, str, float, Written], ...] = (
    ("loss", "Training loss", 1, "{:.3g}".format),
    ("val_accuracy", "Validation accuracy, %", 100, "{:.4g}".format),
    ("val_loss", "Validation loss", 1, "{:.3g}".format),
    ("lr", "Largest learning rate at the epoch's end", 1, "{:.2g}".format),
    ("gradient_norm", "Gradient norm, mean over the epoch", 1, "{:.3g}".format),
    ("images_per_second", "Training images per second", 1, "{:,.0f}".format),
)


@dataclass(frozen=True)
class Line:
    """Points to be joined, by rising x."""

    xs: Sequence[float]
    ys: Sequence[float]
    name: str = ""


@dataclass(frozen=True)
class Mark:
    """A value on the horizontal axis that a reader should find, with its name."""

    x: float
    name: str


@dataclass(frozen=True)
class Frame:
    """The ranges of the two axes, and where a point lies in px."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Px from the left and from the top."""
        (x_low, x_high), (y_low, y_high) = self.x_range, self.y_range
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_low) / (y_high - y_low)
        return round(LEFT + across * (WIDTH - LEFT - RIGHT), 1), round(
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1
        )

    def axes(self, xs: Sequence[float], ys: Sequence[float], x_title: str, written: Written) -> Markup:
        """Ticks with numbers; horizontal ones go on as grid lines."""
        tick = Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>')
        parts = [_segment("grid", self.place(self.x_range[0], y), self.place(self.x_range[1], y)) for y in ys]
        parts += [tick.format(LEFT - 6, self.place(0, y)[1] + 4, "end", written(y)) for y in ys]
        parts += [tick.format(self.place(x, 0)[0], HEIGHT - BOTTOM + 15, "middle", f"{x:.4g}") for x in xs]
        parts += [tick.format(WIDTH - RIGHT, HEIGHT - 2, "end", x_title)] if x_title else []
        return Markup("").join(parts)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values that cover low..high in about `count` steps.

    Example:
        >>> ticks(0.0, 0.87)
        [0.0, 0.25, 0.5, 0.75]
    """
    raw = (high - low) / count
    magnitude = 10 ** math.floor(math.log10(raw))
    step = magnitude * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def curve(
    lines: Sequence[Line],
    title: str,
    written: Written = "{:g}".format,
    x_title: str = "epoch",
    dotted_up_to: int = DOTTED_UP_TO,
    marks: Sequence[Mark] = (),
) -> Markup:
    """Lines over round ticks; up to so many points of a line, each has a dot that tells its value."""
    xs = [x for line in lines for x in line.xs]
    frame = Frame(_padded(min(xs), max(xs)), _y_range([y for line in lines for y in line.ys]))
    whole = all(x == int(x) for x in xs)
    across = [x for x in ticks(*frame.x_range, count=5) if not whole or x == int(x)]
    parts = [frame.axes(across, ticks(*frame.y_range), x_title, written)]
    parts += [
        drawn_line(line, frame, number % COLOURS, x_title, written, dotted_up_to) for number, line in enumerate(lines)
    ]
    parts += _marked(marks, frame)
    last = ", ".join(f"{line.name} {written(line.ys[-1])}".strip() for line in lines)
    return svg(f"{title}; at the last {x_title}: {last}", parts)


def drawn_line(
    line: Line, frame: Frame, colour: int, x_title: str, written: Written, dotted_up_to: int = DOTTED_UP_TO
) -> Markup:
    """One line in a frame, with dots that tell their values where they are few."""
    points = [frame.place(x, y) for x, y in zip(line.xs, line.ys, strict=True)]
    drawn = Markup('<polyline class="line" points="{}"/>').format(" ".join(f"{x},{y}" for x, y in points))
    if len(points) <= dotted_up_to:
        titles = [f"{line.name} {x_title} {x:.4g}: {written(y)}".strip() for x, y in zip(line.xs, line.ys, strict=True)]
        drawn += Markup("").join(_dot(point, text) for point, text in zip(points, titles, strict=True))
    return Markup('<g class="s{}">{}</g>').format(colour, drawn)


def _marked(marks: Sequence[Mark], frame: Frame) -> list[Markup]:
    """Upright broken lines, each below its name; those outside the frame are left out.

    Names stand on the side with more room, the outermost on top: so no line crosses another one's name.
    """
    low, high = frame.x_range
    inside = [mark for mark in marks if low <= mark.x <= high]
    is_left = bool(inside) and sum(mark.x for mark in inside) / len(inside) > (low + high) / 2
    side, anchor = (-4, "end") if is_left else (4, "start")
    name = Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>')
    drawn = []
    for number, mark in enumerate(sorted(inside, key=lambda mark: mark.x, reverse=is_left)):
        (x, bottom), top = frame.place(mark.x, frame.y_range[0]), TOP + MARK_HEIGHT * number
        drawn += [_segment("diagonal", (x, top), (x, bottom)), name.format(x + side, top + 9, anchor, mark.name)]
    return drawn


def _padded(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 1, high + 1)


def _y_range(ys: Sequence[float]) -> tuple[float, float]:
    """A little air around the values; from 0 where they come near it."""
    low, high = min(ys), max(ys)
    air = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return (0.0 if 0 <= low <= 0.35 * high else low - air), high + air


def _segment(kind: str, start: tuple[float, float], end: tuple[float, float]) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, *start, *end)


def _dot(point: tuple[float, float], words: str) -> Markup:
    return Markup('<circle class="dot" cx="{}" cy="{}" r="3.2"><title>{}</title></circle>').format(*point, words)


def svg(label: str, parts: Sequence[Markup]) -> Markup:
    """The parts as one drawing; `label` says what it shows to who cannot see it."""
    opening = Markup('<svg class="curve" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, label)
    return opening + Markup("").join(parts) + Markup("</svg>")


# ---- training ----


def training_curves(history: History) -> list[Drawn]:
    """Everything the log holds, one drawing each: loss, accuracy and loss on val, rate, gradient norm, throughput.

    What was judged on val begins with the start, epoch 0.
    """
    lines = ((title, _logged(history, key, factor), written) for key, title, factor, written in LOGGED)
    return [(title, curve([line], title, written)) for title, line, written in lines if line.xs]


def _logged(history: History, key: str, factor: float) -> Line:
    known = [epoch for epoch in history if getattr(epoch, key) is not None]
    return Line([float(epoch.epoch) for epoch in known], [factor * float(getattr(epoch, key)) for epoch in known])


def probe_curve(probe: ProbeFacts | None) -> list[Drawn]:
    """Validation accuracy over C, where the probe's facts hold the sweep."""
    if probe is None:
        return []
    grid, accuracies = probe.grid, probe.validation_accuracy
    if len(grid) < 2 or len(grid) != len(accuracies):
        return []
    pairs = sorted(zip(grid, accuracies, strict=True))
    line = Line([math.log10(C) for C, _ in pairs], [100 * accuracy for _, accuracy in pairs])
    title = "Probe: validation accuracy over C, %"
    return [(title, curve([line], title, "{:.4g}".format, "log10 C"))]


# ---- calibration ----


def calibration_drawings(scores: Scores) -> list[Drawn]:
    """The reliability diagram and the risk-coverage curve."""
    return [
        ("Accuracy over confidence, %, with 95 % intervals", reliability(scores.calibration.reliability)),
        ("Error rate, %, if only the most confident are answered", risk_coverage(scores.selective)),
    ]


def reliability(bins: Sequence[CalibrationBin]) -> Markup:
    """Accuracy over confidence with intervals; dots on the diagonal keep what the classifier promises."""
    frame = Frame((0, 100), (0, 100))
    quarters = (0, 25, 50, 75, 100)
    parts = [frame.axes(quarters, quarters, "confidence, %", "{:g}".format)]
    parts.append(_segment("diagonal", frame.place(0, 0), frame.place(100, 100)))
    for group in bins:
        low, high = (100 * bound for bound in group.interval)
        x, y = 100 * group.confidence, 100 * group.accuracy
        parts.append(_segment("range", frame.place(x, low), frame.place(x, high)))
        parts.append(_dot(frame.place(x, y), f"confidence {x:.1f} %, accuracy {y:.1f} %, n = {group.n:,}"))
    return svg(
        f"Reliability diagram of {counted(len(bins), 'bin')}", [Markup('<g class="s0">'), *parts, Markup("</g>")]
    )


def risk_coverage(selective: SelectiveResult) -> Markup:
    """Error rate among the images answered, over the share of images answered."""
    line = Line([100 * share for share in selective.coverage], [100 * risk for risk in selective.risk])
    return curve([line], "Error rate of the images answered, %", "{:.3g}".format, "answered, %")
