"""Limits of several runs as a page and on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.report.page import rendered
from transferkit.report.short_names import shortened
from transferkit.runtime.console import printable
from transferkit.studies.limits.comparison_results import ComparedMeasure, LimitsComparison, MeasureDifference
from transferkit.studies.limits.probit import Point, scatter

FOLDER = Path(__file__).parent


def limits_comparison_page(comparison: LimitsComparison) -> str:
    """The comparison as one HTML file that loads nothing."""
    points = scatter_points(comparison)
    return rendered(
        FOLDER / "limits_comparison.html.jinja",
        extra_style=FOLDER / "limits.css",
        comparison=comparison,
        written=written,
        change=change,
        sets=sorted({row.set for row in comparison.scatter}),
        probit=scatter(points) if points else None,
    )


def scatter_points(comparison: LimitsComparison) -> list[Point]:
    """One point per run and set, coloured by set."""
    sets = sorted({row.set for row in comparison.scatter})
    return [Point(row.here, row.there, (), f"{row.run}, {row.set}", sets.index(row.set)) for row in comparison.scatter]


def written(row: ComparedMeasure, index: int) -> str:
    """A value of one run in its unit: per cent for accuracy, three digits for AUROC."""
    value = row.values[index]
    return f"{100 * value:.1f} %" if row.unit == "accuracy" else f"{value:.3f}"


def change(difference: MeasureDifference, unit: str) -> str:
    """A difference to the first run with its interval."""
    factor, digits = (100, 1) if unit == "accuracy" else (1, 3)
    low, high = (factor * bound for bound in difference.interval)
    return f"{factor * difference.difference:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def limits_comparison_verdict(comparison: LimitsComparison) -> RenderableType:
    """The sentences, and one table: a value for the first run, differences to it for the others."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("measure")
    for index, name in enumerate(comparison.runs):
        table.add_column(shortened(printable(name), 24) + (" minus it" if index else ""), justify="right")
    for row in comparison.rows:
        differences = filter(None, row.differences)
        cells = [change(difference, row.unit) + ("" if difference.shown else " ns") for difference in differences]
        unit = "" if row.unit == "accuracy" else f", {row.unit.partition(',')[0]}"
        table.add_row(printable(f"{row.name}{unit}, n = {row.n:,}"), written(row, 0), *cells)
    sentences = [Text(printable(sentence), style="bold") for sentence in comparison.verdict]
    note = Text("ns: no difference shown after Holm's correction.", style="dim")
    page = Text(printable(f"Report: {comparison.folder}/limits-comparison.html"))
    return Group(*sentences, Text(), table, note, Text(), page)
