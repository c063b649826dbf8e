"""A label curve as a page, as Markdown, on the terminal and as a figure: accuracy over the number of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.report import content as words
from transferkit.report.figures import SOFT, drawn_to
from transferkit.report.markdown import escaped, table
from transferkit.report.page import rendered
from transferkit.report.plots import shortened
from transferkit.runtime.console import printable
from transferkit.studies.compare import drawings as drawn
from transferkit.studies.compare import words as told
from transferkit.studies.compare.measure import signed_points
from transferkit.studies.compare.page import NAME_WIDTH, links, two_lines

FOLDER = Path(__file__).parent

LINES = ("#08488a", "#b33c00", "#00755a", "#8c3f87", "#56616d")  # of a figure; told apart also by their marks
MARKS = ("o", "s", "^", "D", "v")
HEADER = ("labels/class", "arm", "n train", "seeds", "accuracy, %", "95 %", "difference, points", "p (Holm)", "fit")


def lines_of(curve: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every number of labels with every arm, in the order of the arms."""
    for point in curve["points"]:
        rows = {row["name"]: row for row in point["comparison"]["arms"]}
        for name in curve["names"]:
            if name in rows:
                yield point, rows[name]


def label_curve_page(curve: Mapping[str, Any], folder: Path) -> str:
    """The label curve as one HTML file that loads nothing."""
    return rendered(
        FOLDER / "label_curve.html.jinja",
        comparison=curve,
        told=told,
        lines=[(point, row, links(row, folder)) for point, row in lines_of(curve)],
        notes=told.notes(curve),
        openings=sum(row["test_openings"] for row in told.rows_of(curve)),
        drawing=drawn.label_drawing(curve),
        key=drawn.key([{"name": name} for name in curve["names"]]),
    )


def label_curve_markdown(curve: Mapping[str, Any]) -> str:
    """The label curve as Markdown."""
    rows = [
        [
            point["labels"],
            row["name"],
            f"{point['n_train']:,}",
            row["seeds"],
            told.accuracy(row),
            told.interval(row),
            _difference(row),
            words.p_value(row["difference"]["p_holm"]) if row.get("difference") else "",
            told.brief(row["fit_seconds"]),
        ]
        for point, row in lines_of(curve)
    ]
    failures = "\n".join(f"- failed: {escaped(failure)}" for failure in curve["failures"])
    parts = [
        f"# {escaped(curve['name'])}",
        escaped(curve["verdict"]),
        table(HEADER, rows),
        f"n = {curve['n']:,} test images.",
        "\n".join(f"- {escaped(note)}" for note in told.notes(curve)),
        failures,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _difference(row: Mapping[str, Any]) -> str:
    difference = row.get("difference")
    if not difference:
        return "reference"
    return told.gap(difference) + ("" if difference["shown"] else ", not shown")


def label_curve_verdict(curve: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a label curve, in 80 columns."""
    shown = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("labels\nn train", justify="right", no_wrap=True)
    shown.add_column("arm\n", no_wrap=True, max_width=NAME_WIDTH)
    for title in ("accuracy, %\n95 %", "difference\n95 %, points", "p\nHolm", "fit\n"):
        shown.add_column(title, justify="right", no_wrap=True)
    before = None
    for point, row in lines_of(curve):
        shown.add_row(*_cells(point, row, is_first=point is not before))
        before = point
    notes = [curve["budget_in_words"], *told.reading(curve)]
    failures = [Text(printable(f"failed: {failure}"), style="bold") for failure in curve["failures"]]
    below = [Text(printable(line), style="dim") for line in notes]
    page = Text(printable(f"Report: {curve['folder']}/report.html"))
    return Group(Text(printable(curve["verdict"]), style="bold"), Text(), shown, Text(), *below, *failures, page)


def _cells(point: Mapping[str, Any], row: Mapping[str, Any], is_first: bool) -> list[Text]:
    difference = row.get("difference")
    mean = signed_points(difference["mean"]) if difference else "reference"
    return [
        two_lines(str(point["labels"]), f"{point['n_train']:,}") if is_first else Text(),
        Text(printable(shortened(row["name"], NAME_WIDTH))),
        two_lines(told.accuracy(row), told.interval(row)),
        two_lines(
            mean,
            told.signed_interval(difference) if difference else "",
            "bold" if difference and difference["shown"] else "",
        ),
        Text(words.p_value(difference["p_holm"]) if difference else ""),
        Text(told.brief(row["fit_seconds"])),
    ]


def label_curve_figure(curve: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy over labels for a paper, as .pdf, .svg or .png."""
    drawn_to(path, lambda: _figure(curve))


def _figure(curve: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    classes = len(curve["class_names"])
    for number, name in enumerate(curve["names"]):
        there = [(point, row) for point, row in lines_of(curve) if row["name"] == name]
        labels = [drawn.labels_per_class(point, classes) for point, _ in there]
        axes.errorbar(
            labels,
            [100 * row["mean"] for _, row in there],
            yerr=_errors([row for _, row in there]),
            label=name,
            color=LINES[number % len(LINES)],
            marker=MARKS[number % len(MARKS)],
            markersize=4,
            linewidth=1.2,
            capsize=2,
        )
    axes.set_xscale("log")
    axes.set(xlabel="labels per class", ylabel=f"accuracy, % (95 %, n = {curve['n']:,})")
    places = [drawn.labels_per_class(point, classes) for point in curve["points"]]
    axes.set_xticks(places, [str(point["labels"]) for point in curve["points"]], minor=False)
    axes.set_xticks([], minor=True)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.tick_params(colors=SOFT)
    axes.legend(frameon=False)
    return figure


def _errors(rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """(2, P), how far each interval reaches below and above the mean, in points."""
    below = [100 * max(0.0, row["mean"] - row["interval"][0]) for row in rows]
    return [below, [100 * max(0.0, row["interval"][1] - row["mean"]) for row in rows]]
