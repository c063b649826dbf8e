"""The accuracy of a probe at every layer: words, tables and a drawing over receptive field and map size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup
from rich.table import Table
from rich.text import Text

from transferkit.metrics.results import ProbeAccuracy, ProbedLayer
from transferkit.report import number_words as words
from transferkit.report.content import Content
from transferkit.report.short_names import shortened
from transferkit.runtime.plurals import counted

MOST_FLAT_LABELS = 8  # layers whose names fit below the axis side by side

# Of the page's drawing, in px.
WIDTH, LEFT, RIGHT = 620, 48, 14
ACCURACY_TOP, ACCURACY_BOTTOM = 26, 226
FIELD_TOP, FIELD_BOTTOM = 262, 352
NAMES_AT = 372
HEIGHT = 384


def rows_of(content: Content) -> tuple[ProbedLayer, ...]:
    """One row per probed layer, from the images to the head; empty where no layers were asked for."""
    probed = content.evaluation.layers if content.evaluation else None
    return probed.rows if probed else ()


def accuracies_of(rows: Sequence[ProbedLayer]) -> dict[str, tuple[ProbeAccuracy, ...]]:
    """The accuracies at each layer, by network in words: the one given and, unless that is random, its random copy."""
    given, random = tuple(row.given for row in rows), tuple(row.random for row in rows if row.random)
    if len(random) < len(rows):
        return {"random weights": given}
    return {"given weights": given, "random copy": random}


# ------------------------------------------------------------------------------------------------------- in words


def sentences(content: Content) -> list[str]:
    """What the drawing shows, as far as its intervals carry it, and what it does not say."""
    rows = rows_of(content)
    first, last = rows[0], rows[-1]
    lines = [_trend(title, rows, accuracies) for title, accuracies in accuracies_of(rows).items()]
    if _is_learnt(last) and _is_above(last.given, first.given) and _never_falls(rows) and _shrinks(first, last):
        lines.append(
            "With the given weights a linear probe tells the classes apart better from deeper layers, while receptive "
            "fields grow and maps shrink: features become more abstract."
        )
    if last.random:
        lines.append(_gain(last, last.random))
    return lines


def _trend(name: str, rows: Sequence[ProbedLayer], accuracies: Sequence[ProbeAccuracy]) -> str:
    low, high = accuracies[0], accuracies[-1]
    ends = f"from {_accuracy(low)} at {rows[0].layer} to {_accuracy(high)} at {rows[-1].layer}"
    if _is_above(high, low):
        return f"{name[0].upper()}{name[1:]}: accuracy rises {ends}."
    if _is_above(low, high):
        return f"{name[0].upper()}{name[1:]}: accuracy falls {ends}."
    return f"{name[0].upper()}{name[1:]}: no difference is shown between the first and the last layer ({ends})."


def _gain(last: ProbedLayer, random: ProbeAccuracy) -> str:
    """The last layer of both networks: what the weights add to the architecture."""
    points = 100 * (last.given.accuracy - random.accuracy)
    if _is_learnt(last):
        return f"At {last.layer}, the given weights are worth {points:.1f} points over random ones."
    return f"At {last.layer}, the given weights are not shown to be better than random ones ({points:+.1f} points)."


def _is_above(probe: ProbeAccuracy, other: ProbeAccuracy) -> bool:
    """Whether two intervals leave a gap; a careful reading, as both were measured on the same images."""
    return probe.interval[0] > other.interval[1]


def _is_learnt(row: ProbedLayer) -> bool:
    """Whether the weights are shown to add something there; deeper layers of random weights have more channels too."""
    return row.random is not None and _is_above(row.given, row.random)


def _never_falls(rows: Sequence[ProbedLayer]) -> bool:
    """Whether no layer is shown to be worse than the one before."""
    return not any(_is_above(layer.given, deeper.given) for layer, deeper in pairwise(rows))


def _shrinks(first: ProbedLayer, last: ProbedLayer) -> bool:
    sides = [map_side(row) for row in (first, last)]
    return sides[0] is not None and (sides[1] or 1) < sides[0]


def _accuracy(probe: ProbeAccuracy) -> str:
    return f"{words.percent(probe.accuracy)} ({words.percent_interval(probe.interval)})"


def caveats(content: Content) -> list[str]:
    """How the numbers were made."""
    probed = content.evaluation.layers if content.evaluation else None
    if probed is None:
        return []
    rows = probed.rows
    n = content.facts.data.n if content.facts else None
    learnt = f" and learnt from {n.train + n.val:,} others" if n else ""
    lines = [
        f"n = {counted(rows[0].given.n, 'test image')}, 95 % Wilson intervals; every probe "
        f"chose its C without them{learnt}.",
        f"Features are averages over each map{_tokens(rows)}, so a layer with more channels "
        "gives its probe more numbers.",
        "Receptive fields are counted before they are cut at the image's border; through skip connections they are the "
        f"maximum over all paths. The input is {content.model.input.size if content.model else '?'} px wide.",
    ]
    if rows[0].random:
        lines.append(f"One random copy, seed {probed.seed}; another seed would move its line.")
    else:
        lines.append("The network has random weights itself, so there is no random copy to compare it with.")
    return lines


def _tokens(rows: Sequence[ProbedLayer]) -> str:
    return " or all tokens" if any(len(row.shape) == 2 for row in rows) else ""


def map_side(row: ProbedLayer) -> int | None:
    """The longer side of a layer's map in values; None for what has no places."""
    return max(row.shape[1:]) if len(row.shape) == 3 else None


def sizes(rows: Sequence[ProbedLayer]) -> tuple[list[int | None], list[int | None]]:
    """Receptive field in px and side of the map of each layer; None where there is no such number."""
    fields = [row.receptive_field if isinstance(row.receptive_field, int) else None for row in rows]
    return fields, [map_side(row) for row in rows]


def field_words(field: int | str | None) -> str:
    """The receptive field.

    Example:
        >>> field_words(43), field_words("global")
        ('43 px', 'global')
    """
    return f"{field} px" if isinstance(field, int) else str(field or "–")


def shape_words(shape: Sequence[int]) -> str:
    """Channels and map.

    Example:
        >>> shape_words((64, 16, 16)), shape_words((512,))
        ('64 x 16 x 16', '512')
    """
    return " x ".join(str(side) for side in shape)


# --------------------------------------------------------------------------------------------- terminal and Markdown


def table(content: Content) -> Table:
    """The layers on the terminal, in 80 columns."""
    rows = rows_of(content)
    drawn = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    drawn.add_column("layer", overflow="fold", max_width=20)
    networks = accuracies_of(rows)
    for title in ("output", "sees", *(f"{name}, %" for name in networks)):
        drawn.add_column(title, justify="right", no_wrap=True)
    for row, probes in zip(rows, zip(*networks.values(), strict=True), strict=True):
        shape, field = shape_words(row.shape).replace(" ", ""), field_words(row.receptive_field)
        drawn.add_row(Text(row.layer), shape, field, *(_cell(probe) for probe in probes))
    return drawn


def _cell(probe: ProbeAccuracy) -> Text:
    return Text.assemble(f"{100 * probe.accuracy:.1f} ", (words.percent_interval(probe.interval), "dim"))


def markdown_rows(content: Content) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the Markdown table."""
    rows = rows_of(content)
    networks = accuracies_of(rows)
    header = ["layer", "output", "receptive field", *(f"{name}, % (95 %)" for name in networks), "n"]
    return header, [
        [
            row.layer,
            shape_words(row.shape),
            field_words(row.receptive_field),
            *(_accuracy(probe) for probe in probes),
            f"{row.given.n:,}",
        ]
        for row, probes in zip(rows, zip(*networks.values(), strict=True), strict=True)
    ]


# ---------------------------------------------------------------------------------------------------------- drawing


def drawing(content: Content) -> Markup:
    """Inline SVG: accuracy with intervals over the layers; below, on the same axis, receptive field and map size."""
    rows = rows_of(content)
    across = [LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / len(rows) for index in range(len(rows))]
    flat = len(rows) <= MOST_FLAT_LABELS
    height = HEIGHT if flat else HEIGHT + 60
    label = f"Accuracy of a linear probe at {counted(len(rows), 'layer')}, from {rows[0].layer} to {rows[-1].layer}"
    opening = Markup('<svg class="curve wide" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, height, label
    )
    parts = [*_accuracy_panel(rows, across), *_size_panel(rows, across), *_layer_names(rows, across, flat)]
    return opening + Markup("").join(parts) + Markup("</svg>")


def _accuracy_panel(rows: Sequence[ProbedLayer], across: Sequence[float]) -> list[Markup]:
    networks = accuracies_of(rows)
    highest = max(probe.interval[1] for probes in networks.values() for probe in probes)
    top: float = min(1.0, math.ceil(10 * highest) / 10)

    def up(share: float) -> float:
        return round(ACCURACY_BOTTOM - share / top * (ACCURACY_BOTTOM - ACCURACY_TOP), 1)

    step = 0.1 if top <= 0.5 else 0.2
    parts = [_grid(up(step * number), f"{100 * step * number:.0f}") for number in range(round(top / step) + 1)]
    parts.append(_text(4, ACCURACY_TOP - 12, "accuracy of a linear probe, %", "start"))
    for series, (title, probes) in enumerate(networks.items()):
        points = [(x, up(probe.accuracy)) for x, probe in zip(across, probes, strict=True)]
        ranges = [_range(x, *map(up, probe.interval)) for x, probe in zip(across, probes, strict=True)]
        titles = [
            f"{row.layer}, {title}: {_accuracy(probe)}, n = {probe.n:,}"
            for row, probe in zip(rows, probes, strict=True)
        ]
        parts.append(_series(series, [*ranges, _line(points), *_dots(points, titles), _legend(series, title)]))
    return parts


def _size_panel(rows: Sequence[ProbedLayer], across: Sequence[float]) -> list[Markup]:
    """Receptive field in px and side of the map in values, each on a logarithmic scale, every point with its number."""
    fields, sides = sizes(rows)
    parts = [_text(4, FIELD_TOP - 14, "receptive field, px, and side of the map (logarithmic)", "start")]
    known = [math.log(value) for value in [*fields, *sides] if value]
    low, high = min(known, default=0.0), max(known, default=1.0)

    def up(value: int) -> float:
        return round(FIELD_BOTTOM - (math.log(value) - low) / ((high - low) or 1.0) * (FIELD_BOTTOM - FIELD_TOP), 1)

    for series, (values, others, name) in enumerate(((fields, sides, "receptive field"), (sides, fields, "map")), 2):
        points = [(x, up(value), value, other) for x, value, other in zip(across, values, others, strict=True) if value]
        numbers = [
            _text(x + 6, y + (-5 if value >= (other or 0) else 14), str(value), "start")
            for x, y, value, other in points
        ]
        titles = [f"{name}: {value}" for *_, value, _ in points]
        places = [(x, y) for x, y, *_ in points]
        parts.append(_series(series, [_line(places), *_dots(places, titles), *numbers, _legend(series, name)]))
    return parts


def _layer_names(rows: Sequence[ProbedLayer], across: Sequence[float], flat: bool) -> list[Markup]:
    names = [shortened(row.layer, 14) for row in rows]
    if flat:
        return [_text(x, NAMES_AT, name, "middle") for x, name in zip(across, names, strict=True)]
    turned = Markup('<text class="tick" transform="translate({} {}) rotate(-50)" text-anchor="end">{}</text>')
    return [turned.format(round(x, 1), NAMES_AT - 6, name) for x, name in zip(across, names, strict=True)]


def _grid(y: float, label: str) -> Markup:
    line = Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(LEFT, y, WIDTH - RIGHT, y)
    return line + _text(LEFT - 6, y + 4, label, "end")


def _text(x: float, y: float, words_: str, anchor: str) -> Markup:
    return Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        round(x, 1), round(y, 1), anchor, words_
    )


def _range(x: float, low: float, high: float) -> Markup:
    return Markup('<line class="range" x1="{0}" y1="{1}" x2="{0}" y2="{2}"/>').format(round(x, 1), low, high)


def _line(points: Sequence[tuple[float, float]]) -> Markup:
    joined = " ".join(f"{x:.1f},{y}" for x, y in points)
    return Markup('<polyline class="line" points="{}"/>').format(joined)


def _dots(points: Sequence[tuple[float, float]], titles: Sequence[str]) -> list[Markup]:
    dot = Markup('<circle class="dot" cx="{}" cy="{}" r="3.6"><title>{}</title></circle>')
    return [dot.format(round(x, 1), y, text) for (x, y), text in zip(points, titles, strict=True)]


def _series(number: int, parts: Sequence[Markup]) -> Markup:
    return Markup('<g class="s{}">{}</g>').format(number, Markup("").join(parts))


def _legend(series: int, name: str) -> Markup:
    """A piece of the line and its name, at the right above its panel."""
    right, y = WIDTH - RIGHT - 120 * (1 - series % 2), (ACCURACY_TOP if series < 2 else FIELD_TOP - 2) - 12
    start = right - 114
    line = Markup('<line class="line" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(start, y - 4, start + 22, y - 4)
    return line + _text(start + 28, y, name, "start")


# ----------------------------------------------------------------------------------------------------- for papers


def figure(content: Content, colours: Sequence[str]) -> Any:
    """The same drawing by matplotlib, in three colours: given weights, random copy, sizes."""
    from matplotlib.figure import Figure

    rows = rows_of(content)
    drawn = Figure(figsize=(max(4.2, 0.62 * len(rows) + 1.4), 4.2), layout="constrained")
    upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for (title, probes), colour, marker in zip(accuracies_of(rows).items(), colours, "os", strict=False):
        _plot_accuracy(upper, probes, title, colour, marker)
    upper.set(ylabel="accuracy, % (95 % interval)", ylim=(0, None))
    upper.legend(frameon=False)
    _plot_sizes(lower, rows, colours[2])
    turned = len(rows) > MOST_FLAT_LABELS
    names = [shortened(row.layer, 18) for row in rows]
    lower.set_xticks(range(len(rows)), names, rotation=45 if turned else 0)
    return drawn


def _plot_accuracy(axes: Any, probes: Sequence[ProbeAccuracy], title: str, colour: str, marker: str) -> None:
    values = [100 * probe.accuracy for probe in probes]
    bounds = [[100 * bound for bound in probe.interval] for probe in probes]
    below = [max(0.0, value - low) for value, (low, _) in zip(values, bounds, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(values, bounds, strict=True)]
    label = f"{title} (n = {probes[0].n:,})"
    style: Any = {"color": colour, "marker": marker, "markersize": 4, "capsize": 2, "label": label}
    axes.errorbar(range(len(probes)), values, (below, above), **style)


def _plot_sizes(axes: Any, rows: Sequence[ProbedLayer], colour: str) -> None:
    """Receptive field and map on one logarithmic scale; points carry their numbers, so the axis needs none."""
    fields, sides = sizes(rows)
    for values, others, name, style in (
        (fields, sides, "receptive field, px", "-"),
        (sides, fields, "side of the map", "--"),
    ):
        points = [(x, value, other) for x, (value, other) in enumerate(zip(values, others, strict=True)) if value]
        axes.plot([x for x, *_ in points], [y for _, y, _ in points], style, color=colour, marker="o", ms=3, label=name)
        for x, value, other in points:
            shift = (3, 3) if value >= (other or 0) else (3, -9)
            axes.annotate(str(value), (x, value), shift, textcoords="offset points", size=7)
    axes.set_yscale("log", base=2)
    axes.set_yticks([])
    axes.minorticks_off()
    axes.margins(y=0.25)
    axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.28))
