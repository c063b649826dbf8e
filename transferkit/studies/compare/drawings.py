"""The drawings of a comparison as inline SVG: cost and accuracy, classes, shared errors, learning, labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from markupsafe import Markup

from transferkit.report import svg_lines
from transferkit.report.short_names import shortened
from transferkit.report.svg_confusion_matrix import shade
from transferkit.report.svg_lines import COLOURS, Drawn, Frame, Line
from transferkit.runtime.durations import duration
from transferkit.studies.compare.results import Agreement, Arm, LabelCurve, LabelPoint, LoggedEpoch
from transferkit.studies.compare.words import gigaflops

MOST_CLASSES = 30  # drawn one by one; of more, those that differ most
ROW_PX, LEFT_PX, WIDTH_PX = 20, 110, 560
NAMES_FROM_RIGHT = 0.6  # of a drawing's width: from here on a point's name stands left of it


COSTS: tuple[tuple[Callable[[Arm], float | None], str, Callable[[float], str]], ...] = (
    (lambda arm: arm.fit_seconds, "Accuracy, %, over the time to fit", duration),
    (lambda arm: arm.training_flops, "Accuracy, %, over the operations of training, GFLOPs", gigaflops),
    (
        lambda arm: arm.flops_per_image,
        "Accuracy, %, over the operations per image at prediction, GFLOPs",
        gigaflops,
    ),
)
LOGS: tuple[tuple[Callable[[LoggedEpoch], float | None], Callable[[LoggedEpoch], float | None], str, int, str], ...] = (
    (
        lambda epoch: epoch.seconds,
        lambda epoch: epoch.val_accuracy,
        "Validation accuracy, %, over the time of the steps",
        100,
        "s",
    ),
    (
        lambda epoch: epoch.step,
        lambda epoch: epoch.val_accuracy,
        "Validation accuracy, %, over gradient steps",
        100,
        "step",
    ),
    (lambda epoch: epoch.step, lambda epoch: epoch.loss, "Training loss over gradient steps", 1, "step"),
)


def key(names: Sequence[str]) -> list[tuple[str, int]]:
    """Name and colour of every arm, in the order of the table."""
    return [(name, number % COLOURS) for number, name in enumerate(names)]


# ------------------------------------------------------------------------------------------- accuracy and cost


def cost_drawings(rows: Sequence[Arm]) -> list[Drawn]:
    """Accuracy over the time to fit, and over the operations per image at prediction, where the runs know them."""
    drawings = []
    for cost, title, written in COSTS:
        known = [(number, row, value) for number, row in enumerate(rows) if (value := cost(row))]
        if len(known) > 1:
            drawings.append((title, _cost(known, title, written)))
    return drawings


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


def _cost(known: Sequence[tuple[int, Arm, float]], title: str, written: Callable[[float], str]) -> Markup:
    """Points with their intervals over the logarithm of a cost, the Pareto front as steps behind them."""
    costs = [math.log10(value) for *_, value in known]
    bounds = [100 * bound for _, row, _ in known for bound in row.interval]
    air, room = 0.1 * (max(bounds) - min(bounds)) or 1.0, 0.18 * (max(costs) - min(costs)) or 0.5
    frame = Frame((min(costs) - room, max(costs) + room), (max(0.0, min(bounds) - air), min(100.0, max(bounds) + air)))
    parts = [frame.axes([], svg_lines.ticks(*frame.y_range), "log scale", "{:g}".format)]
    parts += [_log_tick(frame, value, written) for value in log_ticks(*frame.x_range)]
    places = [(cost, 100 * row.mean) for cost, (_, row, _) in zip(costs, known, strict=True)]
    parts.append(_front(frame, [places[index] for index in pareto_front(places)]))
    heights = spread_out([frame.place(*place)[1] for place in places])
    for place, height, (number, row, value) in zip(places, heights, known, strict=True):
        parts.append(_point(frame, place, height, number, row, f"{row.name}: {place[1]:.1f} %, {written(value)}"))
    return _svg(title, parts)


def log_ticks(low: float, high: float) -> list[float]:
    """Round values between two powers of ten: 1, 2 and 5 times a power, or powers alone where there are many.

    Example:
        >>> log_ticks(0.0, 1.0), log_ticks(0.0, 3.0)
        ([1.0, 2.0, 5.0, 10.0], [1.0, 10.0, 100.0, 1000.0])
    """
    steps = (1, 2, 5) if high - low < 1.7 else (1,)
    values = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    return [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]


def _log_tick(frame: Frame, value: float, written: Callable[[float], str]) -> Markup:
    across = frame.place(math.log10(value), frame.y_range[0])[0]
    tick = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>')
    return tick.format(across, svg_lines.HEIGHT - svg_lines.BOTTOM + 15, written(value))


def spread_out(heights: Sequence[float], apart: float = 12.0) -> list[float]:
    """The heights of labels, moved down where two would overlap.

    Example:
        >>> spread_out([50.0, 20.0, 22.0])
        [50.0, 20.0, 32.0]
    """
    moved = list(heights)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    for above, index in pairwise(order):
        moved[index] = max(moved[index], moved[above] + apart)
    return moved


def _front(frame: Frame, front: Sequence[tuple[float, float]]) -> Markup:
    """Steps along the front: what accuracy each cost can buy."""
    corners = [front[0]]
    for before, after in pairwise(front):
        corners += [(after[0], before[1]), after]
    corners.append((frame.x_range[1], front[-1][1]))
    points = " ".join("{},{}".format(*frame.place(*corner)) for corner in corners)
    return Markup('<polyline class="front" points="{}"/>').format(points)


def _point(frame: Frame, place: tuple[float, float], height: float, number: int, row: Arm, words: str) -> Markup:
    across, up = frame.place(*place)
    low, high = (frame.place(place[0], 100 * bound)[1] for bound in row.interval)
    shift, anchor = (-7, "end") if across > NAMES_FROM_RIGHT * svg_lines.WIDTH else (7, "start")
    return Markup(
        '<g class="s{colour}"><line class="range" x1="{x}" y1="{low}" x2="{x}" y2="{high}"/>'
        '<circle class="dot" cx="{x}" cy="{y}" r="3.6"><title>{words}</title></circle>'
        '<text class="tick" x="{at}" y="{below}" text-anchor="{anchor}">{name}</text></g>'
    ).format(
        colour=number % COLOURS,
        x=across,
        y=up,
        low=low,
        high=high,
        words=words,
        at=across + shift,
        below=height - 4,
        anchor=anchor,
        name=shortened(row.name, 22),
    )


def _svg(
    label: str, parts: Sequence[Markup], width: float = svg_lines.WIDTH, height: float = svg_lines.HEIGHT
) -> Markup:
    kind = "curve" if width == svg_lines.WIDTH else "chart"
    opening = Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return opening.format(kind, width, height, label) + Markup("").join(parts) + Markup("</svg>")


# ---------------------------------------------------------------------------------------------------- learning


def learning_curves(rows: Sequence[Arm]) -> list[Drawn]:
    """Val accuracy over time and over steps, and training loss over steps, of the first seed of every arm."""
    drawings = []
    for across, up, title, factor, x_title in LOGS:
        lines = [_logged(row, across, up, factor) for row in rows]
        if any(line.xs for line in lines):
            drawings.append((title, _lines(lines, title, x_title)))
    return drawings


def _logged(
    row: Arm, across: Callable[[LoggedEpoch], float | None], up: Callable[[LoggedEpoch], float | None], factor: float
) -> Line:
    points = [(across(epoch) or 0.0, factor * value) for epoch in row.history if (value := up(epoch)) is not None]
    return Line([x for x, _ in points], [y for _, y in points], row.name)


def _lines(lines: Sequence[Line], title: str, x_title: str) -> Markup:
    """Lines that keep the colour of their arm, those without points left out."""
    shown = [(number, line) for number, line in enumerate(lines) if line.xs]
    xs, ys = ([value for _, line in shown for value in getattr(line, axis)] for axis in ("xs", "ys"))
    air = 0.08 * (max(ys) - min(ys)) or 1.0
    frame = Frame((0.0, max(xs) or 1.0), (max(0.0, min(ys) - air), max(ys) + air))
    parts = [frame.axes(svg_lines.ticks(*frame.x_range), svg_lines.ticks(*frame.y_range), x_title, "{:.4g}".format)]
    parts += [svg_lines.drawn_line(line, frame, number % COLOURS, x_title, "{:.4g}".format) for number, line in shown]
    return _svg(title, parts)


# ----------------------------------------------------------------------------------------------------- classes


def class_differences(rows: Sequence[Arm], class_names: Sequence[str]) -> Markup:
    """Recall of every class, in points above or below the reference's: one dot per arm and class."""
    reference, others = rows[0], list(enumerate(rows))[1:]
    classes = [(name, _recall_dots(reference, others, index)) for index, name in enumerate(class_names)]
    drawn = [(name, dots) for name, dots in classes if dots]
    if not drawn:
        return Markup("")
    drawn.sort(key=lambda item: max(abs(value) for _, _, value in item[1]), reverse=True)
    return _class_chart(drawn[:MOST_CLASSES], reference.name)


def _recall_dots(reference: Arm, others: Sequence[tuple[int, Arm]], label: int) -> list[tuple[int, str, float]]:
    """Number, name and distance of every other arm, in points; none where an arm's recall is not known."""
    dots = []
    for number, row in others:
        recall, base = (dict(enumerate(arm.recalls)).get(label) for arm in (row, reference))
        if recall is None or base is None:
            return []
        dots.append((number, row.name, 100 * (recall - base)))
    return dots


def _class_chart(classes: Sequence[tuple[str, Sequence[tuple[int, str, float]]]], reference: str) -> Markup:
    extent = max(abs(value) for _, dots in classes for _, _, value in dots) or 1.0
    ticks = svg_lines.ticks(-extent, extent, 6)
    height = ROW_PX * len(classes) + 24
    scale = (WIDTH_PX - LEFT_PX - 24) / 2 / extent

    def across(value: float) -> float:
        return round(LEFT_PX + (value + extent) * scale, 1)

    line = Markup('<line class="{}" x1="{}" x2="{}" y1="0" y2="{}"/>')
    text = Markup('<text class="soft" x="{}" y="{}" text-anchor="middle">{:+g}</text>')
    parts = [line.format("zero" if not tick else "grid", across(tick), across(tick), height - 22) for tick in ticks]
    parts += [text.format(across(tick), height - 6, tick) for tick in ticks]
    for index, (name, dots) in enumerate(classes):
        middle = ROW_PX * index + ROW_PX / 2
        label = Markup('<text x="{}" y="{}" text-anchor="end" dominant-baseline="middle">{}</text>')
        parts.append(label.format(LEFT_PX - 10, middle, shortened(name, 15)))
        dot = Markup('<g class="s{}"><circle class="dot" cx="{}" cy="{}" r="4"><title>{}</title></circle></g>')
        parts += [
            dot.format(number % COLOURS, across(value), middle, f"{name}, {arm}: {value:+.1f} points to {reference}")
            for number, arm, value in dots
        ]
    return _svg(f"Recall of {len(classes)} classes in points above {reference}", parts, WIDTH_PX, height)


# --------------------------------------------------------------------------------------------------- agreement


def agreement(shared: Agreement) -> Markup:
    """Squares: of the images that the row's arm gets wrong, the share that the column's arm gets wrong too."""
    names, shares = shared.names, shared.shares
    if len(names) < 2:
        return Markup("")
    side, left, top = 46, 150, 22
    width, height = left + side * len(names), top + side * len(names)
    number = Markup('<text class="soft" x="{}" y="{}" text-anchor="middle">{}</text>')
    parts = [number.format(left + side * index + side / 2, top - 7, index + 1) for index in range(len(names))]
    label = Markup('<text x="{}" y="{}" text-anchor="end" dominant-baseline="middle">{} {}</text>')
    for index, (name, row) in enumerate(zip(names, shares, strict=True)):
        middle = top + side * index + side / 2
        parts.append(label.format(left - 8, middle, shortened(name, 18), index + 1))
        parts += [
            _square(left + side * at, top + side * index, side, share, f"{name}, also wrong by {other}")
            for at, (other, share) in enumerate(zip(names, row, strict=True))
        ]
    opening = Markup(
        '<svg class="chart agreement" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
    )
    words = "Share of each arm's errors that each other arm makes too"
    return (
        opening.format(width, height, words)
        + Markup('<g class="cells">')
        + Markup("").join(parts)
        + Markup("</g></svg>")
    )


def _square(x: float, y: float, side: float, share: float | None, words: str) -> Markup:
    level = 0 if share is None else shade(share * share)  # the root is taken in `shade`: here shares count as they are
    number = "–" if share is None else f"{100 * share:.0f}"
    strong = " strong" if level >= 6 else ""
    return Markup(
        '<rect class="m{}" x="{}" y="{}" width="{}" height="{}"><title>{}: {} %</title></rect>'
        '<text class="count{}" x="{}" y="{}" text-anchor="middle" dominant-baseline="central">{}</text>'
    ).format(level, x, y, side - 1.5, side - 1.5, words, number, strong, x + side / 2, y + side / 2, number)


# ------------------------------------------------------------------------------------------------------ labels


def label_drawing(curve: LabelCurve) -> Markup:
    """Mean accuracy with its interval over the training labels per class (log scale), one line per arm."""
    points, classes = curve.points, len(curve.class_names)
    places = [math.log10(labels_per_class(point, classes)) for point in points]
    bounds = [100 * bound for arm in curve.arms for bound in arm.interval]
    air = 0.06 * (max(bounds) - min(bounds)) or 1.0
    span = max(places) - min(places) or 1.0
    frame = Frame(
        (min(places) - 0.06 * span, max(places) + 0.06 * span),
        (max(0.0, min(bounds) - air), min(100.0, max(bounds) + air)),
    )
    parts = [frame.axes([], svg_lines.ticks(*frame.y_range), "labels per class, train and val (log)", "{:g}".format)]
    parts += [
        Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            frame.place(place, 0)[0], svg_lines.HEIGHT - svg_lines.BOTTOM + 15, point.labels
        )
        for place, point in zip(places, points, strict=True)
    ]
    for number, name in enumerate(curve.names):
        there = [
            (math.log10(labels_per_class(point, classes)), arm) for point, arm in curve.lines() if arm.name == name
        ]
        parts.append(_label_line(frame, there, number))
    return _svg("Accuracy, %, over the number of labels per class", parts)


def labels_per_class(point: LabelPoint, classes: int) -> float:
    """How many labels a class has on average, train and val together."""
    return (point.n_train + point.n_val) / max(classes, 1)


def _label_line(frame: Frame, there: Sequence[tuple[float, Arm]], number: int) -> Markup:
    shift = 0.006 * (number % 5 - 2) * (frame.x_range[1] - frame.x_range[0])  # so that intervals stay apart
    parts = [
        Markup('<line class="range" x1="{0}" y1="{1}" x2="{0}" y2="{2}"/>').format(
            frame.place(place + shift, 0)[0], *(frame.place(place, 100 * bound)[1] for bound in row.interval)
        )
        for place, row in there
    ]
    line = Line([place + shift for place, _ in there], [100 * row.mean for _, row in there], there[0][1].name)
    return Markup('<g class="s{}">{}</g>').format(number % COLOURS, Markup("").join(parts)) + svg_lines.drawn_line(
        line, frame, number % COLOURS, "log10 labels per class", "{:.1f}".format
    )
