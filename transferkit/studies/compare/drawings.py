"""The drawings of a comparison as inline SVG: cost and accuracy, classes, shared errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from transferkit.report import svg_lines
from transferkit.report.short_names import shortened
from transferkit.report.svg_confusion_matrix import shade
from transferkit.report.svg_lines import Drawn
from transferkit.report.svg_marks import KeyEntry, Style, key, mark
from transferkit.report.svg_scatter import CostPoint, accuracy_over_cost
from transferkit.runtime.durations import duration
from transferkit.runtime.plurals import counted
from transferkit.studies.compare.results import Agreement, Arm
from transferkit.studies.compare.styles import arm_styles
from transferkit.studies.compare.words import gigaflops

MOST_CLASSES = 30  # drawn one by one; of more, those that differ most
ROW_PX, LEFT_PX, WIDTH_PX = 20, 110, 560

Dot = tuple[str, float]  # name of an arm, and how far from the reference in points


COSTS: tuple[tuple[Callable[[Arm], float | None], str, Callable[[float], str], str], ...] = (
    (lambda arm: arm.fit_seconds, "Accuracy, %, over the time to fit", duration, "seconds"),
    (lambda arm: arm.training_flops, "Accuracy, %, over the operations of training, GFLOPs", gigaflops, "operations"),
    (
        lambda arm: arm.flops_per_image,
        "Accuracy, %, over the operations per image at prediction, GFLOPs",
        gigaflops,
        "operations",
    ),
)


COST_FIGURES: dict[str, tuple[Callable[[Arm], float | None], str]] = {
    "cost": (lambda arm: arm.fit_seconds, "time to fit, s"),
    "training": (lambda arm: arm.training_flops, "operations of training"),
    "operations": (lambda arm: arm.flops_per_image, "operations per image at prediction"),
}


# ------------------------------------------------------------------------------------------- accuracy and cost


def cost_points(
    arms: Sequence[Arm], cost: Callable[[Arm], float | None], written: Callable[[float], str]
) -> list[CostPoint]:
    """The arms that know a cost as marks."""
    chosen = arm_styles(arms)
    return [
        CostPoint(
            value,
            arm.mean,
            arm.interval,
            arm.name,
            f"{arm.name}: {100 * arm.mean:.1f} %, {written(value)}",
            chosen[arm.name],
        )
        for arm in arms
        if (value := cost(arm))
    ]


def cost_drawings(arms: Sequence[Arm]) -> list[Drawn]:
    """Accuracy over the time to fit, and over the operations per image at prediction, where the runs know them."""
    drawings = []
    for cost, title, written, unit in COSTS:
        points = cost_points(arms, cost, written)
        if len(points) > 1:
            drawings.append((title, accuracy_over_cost(points, title, written, unit)))
    return drawings


def arm_key(arms: Sequence[Arm]) -> list[KeyEntry]:
    """The mark of every arm."""
    chosen = arm_styles(arms)
    return key([(arm.name, chosen[arm.name]) for arm in arms])


def cost_key(arms: Sequence[Arm]) -> list[KeyEntry]:
    """A legend of the arms that know a cost."""
    chosen = arm_styles(arms)
    return key([(arm.name, chosen[arm.name]) for arm in arms if any(cost(arm) for cost, *_ in COSTS)])


def _chart(label: str, parts: Sequence[Markup], width: float, height: float) -> Markup:
    opening = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return opening.format(width, height, label) + Markup("").join(parts) + Markup("</svg>")


# ----------------------------------------------------------------------------------------------------- classes


def class_differences(arms: Sequence[Arm], reference: str, class_names: Sequence[str]) -> Markup:
    """Recall of every class, in points above or below the reference's: one mark per arm and class."""
    classes = [(name, _recall_dots(arms, reference, index)) for index, name in enumerate(class_names)]
    drawn = [(name, dots) for name, dots in classes if dots]
    if not drawn:
        return Markup("")
    drawn.sort(key=lambda item: max(abs(value) for _, value in item[1]), reverse=True)
    return _class_chart(drawn[:MOST_CLASSES], reference, arm_styles(arms))


def class_key(arms: Sequence[Arm], reference: str) -> list[KeyEntry]:
    """A legend of the arms beside the reference, which is the line at zero."""
    chosen = arm_styles(arms)
    return key([(arm.name, chosen[arm.name]) for arm in arms if arm.name != reference])


def _recall_dots(arms: Sequence[Arm], reference: str, label: int) -> list[Dot]:
    """Name and distance of every other arm, in points; none where an arm's recall is not known."""
    recalls = {arm.name: dict(enumerate(arm.recalls)).get(label) for arm in arms}
    base = recalls.pop(reference)
    known = [
        (name, 100 * (recall - base)) for name, recall in recalls.items() if recall is not None and base is not None
    ]
    return known if len(known) == len(recalls) else []


def _class_chart(classes: Sequence[tuple[str, Sequence[Dot]]], reference: str, chosen: dict[str, Style]) -> Markup:
    extent = max(abs(value) for _, dots in classes for _, value in dots) or 1.0
    ticks = svg_lines.ticks(-extent, extent, 6)
    height = ROW_PX * len(classes) + 24
    scale = (WIDTH_PX - LEFT_PX - 24) / 2 / extent

    def across(value: float) -> float:
        return round(LEFT_PX + (value + extent) * scale, 1)

    line = Markup('<line class="{}" x1="{}" x2="{}" y1="0" y2="{}"/>')
    text = Markup('<text class="soft" x="{}" y="{}" text-anchor="middle">{:+g}</text>')
    label = Markup('<text x="{}" y="{}" text-anchor="end" dominant-baseline="middle">{}</text>')
    group = Markup('<g class="{}">{}</g>')
    parts = [line.format("zero" if not tick else "grid", across(tick), across(tick), height - 22) for tick in ticks]
    parts += [text.format(across(tick), height - 6, tick) for tick in ticks]
    for index, (name, dots) in enumerate(classes):
        middle = ROW_PX * index + ROW_PX / 2
        parts.append(label.format(LEFT_PX - 10, middle, shortened(name, 15)))
        for arm, value in dots:
            words = f"{name}, {arm}: {value:+.1f} points to {reference}"
            parts.append(group.format(chosen[arm].classes, mark(chosen[arm], (across(value), middle), words)))
    return _chart(
        f"Recall of {counted(len(classes), 'class', 'classes')} in points above {reference}", parts, WIDTH_PX, height
    )


# --------------------------------------------------------------------------------------------------- agreement


def agreement(shared: Agreement, order: Sequence[str]) -> Markup:
    """Squares: of the images that the row's arm gets wrong, the share that the column's arm gets wrong too."""
    if len(shared.names) < 2:
        return Markup("")
    share = {
        (row, column): value
        for row, values in zip(shared.names, shared.shares, strict=True)
        for column, value in zip(shared.names, values, strict=True)
    }
    names = [name for name in order if name in shared.names]
    side, left, top, right = 46, 150, 100, 70  # right: the last column's name leans over it
    width, height = left + side * len(names) + right, top + side * len(names)
    column = Markup('<text transform="translate({} {}) rotate(-40)">{}</text>')
    label = Markup('<text x="{}" y="{}" text-anchor="end" dominant-baseline="middle">{}</text>')
    parts = [
        column.format(left + side * index + side / 2, top - 7, shortened(name, 18)) for index, name in enumerate(names)
    ]
    for index, name in enumerate(names):
        y = top + side * index
        parts.append(label.format(left - 8, y + side / 2, shortened(name, 18)))
        parts += [
            _square(left + side * at, y, side, share[name, other], f"{name}, also wrong by {other}")
            for at, other in enumerate(names)
        ]
    opening = Markup(
        '<svg class="chart agreement" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
    )
    words = "Share of each arm's errors that each other arm makes too"
    cells = Markup('<g class="cells">{}</g></svg>').format(Markup("").join(parts))
    return opening.format(width, height, words) + cells


def _square(x: float, y: float, side: float, share: float | None, words: str) -> Markup:
    level = 0 if share is None else shade(share * share)  # the root is taken in `shade`: here shares count as they are
    number = "–" if share is None else f"{100 * share:.0f}"
    strong = " strong" if level >= 6 else ""
    return Markup(
        '<rect class="m{}" x="{}" y="{}" width="{}" height="{}"><title>{}: {} %</title></rect>'
        '<text class="count{}" x="{}" y="{}" text-anchor="middle" dominant-baseline="central">{}</text>'
    ).format(level, x, y, side - 1.5, side - 1.5, words, number, strong, x + side / 2, y + side / 2, number)
