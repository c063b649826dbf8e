"""A label curve as a page, as Markdown, on the terminal and as a figure: accuracy over the number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.report import number_words as words
from transferkit.report.markdown import escaped, table
from transferkit.report.matplotlib_figures import SOFT, drawn_to
from transferkit.report.page import rendered
from transferkit.report.short_names import shortened
from transferkit.report.svg_whiskers import track_scale
from transferkit.runtime.console import printable
from transferkit.runtime.durations import duration
from transferkit.studies.compare import line_drawings
from transferkit.studies.compare import words as compare_words
from transferkit.studies.compare.headlines import curve_headline
from transferkit.studies.compare.page import NAME_WIDTH, links, two_lines
from transferkit.studies.compare.results import Arm, LabelCurve, LabelPoint
from transferkit.studies.compare.verdict import signed_points

FOLDER = Path(__file__).parent

LINES = ("#08488a", "#b33c00", "#00755a", "#8c3f87", "#56616d")  # of a figure; told apart also by their marks
MARKS = ("o", "s", "^", "D", "v")
HEADER = ("labels/class", "arm", "n train", "seeds", "accuracy, %", "95 %", "difference, points", "p (Holm)", "fit")


def label_curve_page(curve: LabelCurve, folder: Path) -> str:
    """The label curve as one HTML file that loads nothing."""
    return rendered(
        FOLDER / "label_curve.html.jinja",
        comparison=curve,
        headline=curve_headline(curve),
        compare_words=compare_words,
        lines=[(point, row, links(row, folder)) for point, row in curve.lines()],
        notes=compare_words.notes(curve),
        sample_size=words.sample_size(curve.n, curve.groups, " test images"),
        openings=sum(row.test_openings for row in curve.arms),
        scale=track_scale([arm.interval for arm in curve.arms]),
        drawing=line_drawings.label_drawing(curve),
        key=line_drawings.label_key(curve),
    )


def label_curve_markdown(curve: LabelCurve) -> str:
    """The label curve as Markdown."""
    rows = [
        [
            point.labels,
            row.name,
            f"{point.n_train:,}",
            row.seeds,
            compare_words.accuracy(row),
            compare_words.interval(row.interval),
            _difference(row),
            words.p_value(row.difference.p_holm) if row.difference else "",
            duration(row.fit_seconds),
        ]
        for point, row in curve.lines()
    ]
    failures = "\n".join(f"- failed: {escaped(failure)}" for failure in curve.failures)
    parts = [
        f"# {escaped(curve.name)}",
        escaped(curve.verdict),
        table(HEADER, rows),
        f"{words.sample_size(curve.n, curve.groups, ' test images')}.",
        "\n".join(f"- {escaped(note)}" for note in compare_words.notes(curve)),
        failures,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _difference(row: Arm) -> str:
    difference = row.difference
    if not difference:
        return "reference"
    return compare_words.gap(difference) + ("" if difference.shown else ", not shown")


def label_curve_verdict(curve: LabelCurve) -> RenderableType:
    """What the terminal shows of a label curve, in 80 columns."""
    shown = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("labels\nn train", justify="right", no_wrap=True)
    shown.add_column("arm\n", no_wrap=True, max_width=NAME_WIDTH)
    for title in ("accuracy, %\n95 %", "difference\n95 %, points", "p\nHolm", "fit\n"):
        shown.add_column(title, justify="right", no_wrap=True)
    before = None
    for point, row in curve.lines():
        shown.add_row(*_cells(point, row, is_first=point is not before))
        before = point
    notes = [curve.budget_in_words, *compare_words.reading(curve)]
    failures = [Text(printable(f"failed: {failure}"), style="bold") for failure in curve.failures]
    below = [Text(printable(line), style="dim") for line in notes]
    page = Text(printable(f"Report: {curve.folder}/report.html"))
    return Group(Text(printable(curve.verdict), style="bold"), Text(), shown, Text(), *below, *failures, page)


def _cells(point: LabelPoint, row: Arm, is_first: bool) -> list[Text]:
    difference = row.difference
    mean = signed_points(difference.mean) if difference else "reference"
    return [
        two_lines(str(point.labels), f"{point.n_train:,}") if is_first else Text(),
        Text(printable(shortened(row.name, NAME_WIDTH))),
        two_lines(compare_words.accuracy(row), compare_words.interval(row.interval)),
        two_lines(
            mean,
            compare_words.signed_interval(difference) if difference else "",
            "bold" if difference and difference.shown else "",
        ),
        Text(words.p_value(difference.p_holm) if difference else ""),
        Text(duration(row.fit_seconds)),
    ]


def label_curve_figure(curve: LabelCurve, path: Path) -> None:
    """Draw accuracy over labels for a paper, as .pdf, .svg or .png."""
    drawn_to(path, lambda: _figure(curve))


def _figure(curve: LabelCurve) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    classes = len(curve.class_names)
    for number, name in enumerate(curve.names):
        there = [(point, row) for point, row in curve.lines() if row.name == name]
        labels = [line_drawings.labels_per_class(point, classes) for point, _ in there]
        axes.errorbar(
            labels,
            [100 * row.mean for _, row in there],
            yerr=_errors([row for _, row in there]),
            label=name,
            color=LINES[number % len(LINES)],
            marker=MARKS[number % len(MARKS)],
            markersize=4,
            linewidth=1.2,
            capsize=2,
        )
    axes.set_xscale("log")
    axes.set(xlabel="labels per class", ylabel=f"accuracy, % (95 %, {words.sample_size(curve.n, curve.groups)})")
    places = [line_drawings.labels_per_class(point, classes) for point in curve.points]
    axes.set_xticks(places, [str(point.labels) for point in curve.points], minor=False)
    axes.set_xticks([], minor=True)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.tick_params(colors=SOFT)
    axes.legend(frameon=False)
    return figure


def _errors(rows: Sequence[Arm]) -> list[list[float]]:
    """(2, P), how far each interval reaches below and above the mean, in points."""
    below = [100 * max(0.0, row.mean - row.interval[0]) for row in rows]
    return [below, [100 * max(0.0, row.interval[1] - row.mean) for row in rows]]
