"""Lines of a comparison as inline SVG: learning over time and steps, and accuracy over the number of labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from transferkit.report import svg_lines
from transferkit.report.label_places import CHARACTER_PX
from transferkit.report.svg_lines import Drawn, Frame, Line
from transferkit.report.svg_marks import KeyEntry, Style, key, mark
from transferkit.studies.compare.results import Arm, LabelCurve, LabelPoint, LoggedEpoch
from transferkit.studies.compare.styles import arm_styles

MARKED_UP_TO = 40  # points of a line that are marked one by one; of longer ones some, evenly spread
APART_PX = 8.0  # between the texts of two ticks
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


def styled_line(line: Line, frame: Frame, style: Style, x_title: str) -> Markup:
    """A line in its style, with marks that tell their values."""
    points = [frame.place(x, y) for x, y in zip(line.xs, line.ys, strict=True)]
    drawn = Markup('<polyline class="line" points="{}"/>').format(" ".join(f"{x},{y}" for x, y in points))
    every = math.ceil(len(points) / MARKED_UP_TO)
    marks = [
        mark(style, place, f"{line.name}, {x_title} {x:.4g}: {y:.4g}", 3.4)
        for place, x, y in list(zip(points, line.xs, line.ys, strict=True))[::every]
    ]
    return Markup('<g class="{}">{}</g>').format(style.classes, Markup("").join([drawn, *marks]))


# ---------------------------------------------------------------------------------------------------- learning


def learning_key(arms: Sequence[Arm]) -> list[KeyEntry]:
    """A legend of the arms that have logged what is drawn."""
    chosen = arm_styles(arms)
    there = [arm for arm in arms if any(_logged(arm, across, up, 1).xs for across, up, *_ in LOGS)]
    return key([(arm.name, chosen[arm.name]) for arm in there], has_lines=True)


def learning_curves(arms: Sequence[Arm]) -> list[Drawn]:
    """Val accuracy over time and over steps, and training loss over steps, of the first seed of every arm."""
    chosen = arm_styles(arms)
    drawings = []
    for across, up, title, factor, x_title in LOGS:
        lines = [line for arm in arms if (line := _logged(arm, across, up, factor)).xs]
        if lines:
            drawings.append((title, _lines(lines, [chosen[line.name] for line in lines], title, x_title)))
    return drawings


def _logged(
    row: Arm, across: Callable[[LoggedEpoch], float | None], up: Callable[[LoggedEpoch], float | None], factor: float
) -> Line:
    points = [(across(epoch) or 0.0, factor * value) for epoch in row.history if (value := up(epoch)) is not None]
    return Line([x for x, _ in points], [y for _, y in points], row.name)


def _lines(lines: Sequence[Line], chosen: Sequence[Style], title: str, x_title: str) -> Markup:
    xs, ys = ([value for line in lines for value in getattr(line, axis)] for axis in ("xs", "ys"))
    air = 0.08 * (max(ys) - min(ys)) or 1.0
    frame = Frame((0.0, max(xs) or 1.0), (max(0.0, min(ys) - air), max(ys) + air))
    parts = [frame.axes(svg_lines.ticks(*frame.x_range), svg_lines.ticks(*frame.y_range), x_title, "{:.4g}".format)]
    parts += [styled_line(line, frame, style, x_title) for line, style in zip(lines, chosen, strict=True)]
    return svg_lines.svg(title, parts)


# ------------------------------------------------------------------------------------------------------ labels


def label_key(curve: LabelCurve) -> list[KeyEntry]:
    """A legend of the arms of a label curve."""
    chosen = arm_styles(curve.arms)
    return key([(name, chosen[name]) for name in curve.names], has_lines=True)


def label_drawing(curve: LabelCurve) -> Markup:
    """Mean accuracy with its interval over the training labels per class (log scale), one line per arm."""
    classes = len(curve.class_names)
    places = [math.log10(labels_per_class(point, classes)) for point in curve.points]
    bounds = [100 * bound for arm in curve.arms for bound in arm.interval]
    air = 0.06 * (max(bounds) - min(bounds)) or 1.0
    span = max(places) - min(places) or 1.0
    frame = Frame(
        (min(places) - 0.06 * span, max(places) + 0.06 * span),
        (max(0.0, min(bounds) - air), min(100.0, max(bounds) + air)),
    )
    parts = [frame.axes([], svg_lines.ticks(*frame.y_range), "labels per class, train and val (log)", "{:g}".format)]
    parts += _label_ticks(frame, places, [str(point.labels) for point in curve.points])
    chosen = arm_styles(curve.arms)
    for number, name in enumerate(curve.names):
        there = [
            (math.log10(labels_per_class(point, classes)), arm) for point, arm in curve.lines() if arm.name == name
        ]
        parts.append(_label_line(frame, there, number, chosen[name]))
    return svg_lines.svg("Accuracy, %, over the number of labels per class", parts)


def _label_ticks(frame: Frame, places: Sequence[float], texts: Sequence[str]) -> list[Markup]:
    """The numbers of labels, without those that would touch the one before."""
    tick = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>')
    parts: list[Markup] = []
    free_from = 0.0
    for place, text in zip(places, texts, strict=True):
        x, half = frame.place(place, 0)[0], CHARACTER_PX * len(text) / 2
        if x - half >= free_from:
            parts.append(tick.format(x, svg_lines.HEIGHT - svg_lines.BOTTOM + 15, text))
            free_from = x + half + APART_PX
    return parts


def labels_per_class(point: LabelPoint, classes: int) -> float:
    """How many labels a class has on average, train and val together."""
    return (point.n_train + point.n_val) / max(classes, 1)


def _label_line(frame: Frame, there: Sequence[tuple[float, Arm]], number: int, style: Style) -> Markup:
    shift = 0.006 * (number % 5 - 2) * (frame.x_range[1] - frame.x_range[0])  # so that intervals stay apart
    parts = [
        Markup('<line class="range" x1="{0}" y1="{1}" x2="{0}" y2="{2}"/>').format(
            frame.place(place + shift, 0)[0], *(frame.place(place, 100 * bound)[1] for bound in row.interval)
        )
        for place, row in there
    ]
    line = Line([place + shift for place, _ in there], [100 * row.mean for _, row in there], there[0][1].name)
    whiskers = Markup('<g class="{}">{}</g>').format(style.classes, Markup("").join(parts))
    return whiskers + styled_line(line, frame, style, "log10 labels per class")
