"""A comparison as a page and on the terminal: one table, one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.report.page import rendered
from transferkit.report.plots import shortened
from transferkit.screen import printable

_ROW, _WIDTH, _LEFT = 34, 560, 130  # px


def comparison_page(comparison: Mapping[str, Any], folder: Path) -> str:
    """The comparison as one HTML file that loads nothing."""
    arms = [{**row, "links": _links(row, folder)} for row in comparison["arms"]]
    return rendered(
        "comparison.html.jinja",
        comparison={**comparison, "arms": arms},
        headline=headline(comparison["arms"]),
        chart=accuracy_chart(comparison["arms"]),
        openings=sum(row["test_openings"] for row in comparison["arms"]),
    )


def headline(arms: Sequence[Mapping[str, Any]]) -> str:
    """The arms by their accuracy, best first."""
    ranked = sorted(arms, key=lambda row: row["mean"], reverse=True)
    return ", ".join(f"{row['name']} {100 * row['mean']:.1f} %" for row in ranked)


def _links(row: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Where each run's own page lies, relative to the comparison."""
    links = []
    for path, accuracy in zip(row["runs"], row["accuracies"], strict=True):
        run = Path(path)
        target = run.relative_to(folder) if run.is_relative_to(folder) else run.absolute()
        links.append({"name": run.name, "href": quote(f"{target.as_posix()}/report.html"), "accuracy": accuracy})
    return links


def accuracy_chart(arms: Sequence[Mapping[str, Any]]) -> Markup:
    """Inline SVG: one bar per arm for the mean accuracy, one dot per seed, on an axis from 0 to 100 %."""
    height = _ROW * len(arms) + 26
    scale = _WIDTH - _LEFT - 20
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="Accuracy of each arm">').format(
            _WIDTH, height
        )
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_grid_line(_LEFT + scale * share, height, share))
    for index, row in enumerate(arms):
        parts.append(_bar(row, index, scale))
    return Markup("").join([*parts, Markup("</svg>")])


def _grid_line(x: float, height: float, share: float) -> Markup:
    line = Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>').format(x, height - 22)
    text = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{:.0f} %</text>').format(x, height - 6, 100 * share)
    return line + text


def _bar(row: Mapping[str, Any], index: int, scale: float) -> Markup:
    top = _ROW * index + 6
    middle = top + (_ROW - 12) / 2
    name = Markup('<text x="{}" y="{}" text-anchor="end" dominant-baseline="middle">{}</text>').format(
        _LEFT - 8, middle, shortened(row["name"], 18)
    )
    bar = Markup('<rect class="bar" x="{}" y="{}" width="{:.1f}" height="{}"/>').format(
        _LEFT, top, scale * row["mean"], _ROW - 12
    )
    dots = [
        Markup('<circle class="seed" cx="{:.1f}" cy="{}" r="3.5"/>').format(_LEFT + scale * accuracy, middle)
        for accuracy in row["accuracies"]
    ]
    return name + bar + Markup("").join(dots)


def comparison_verdict(comparison: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a comparison."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("arm", "accuracy", "seeds", "difference, points", "p (Holm)", "time to fit"):
        table.add_column(title, justify="left" if title == "arm" else "right")
    for row in comparison["arms"]:
        table.add_row(*(printable(cell) for cell in _cells(row)))
    failures = [Text(printable(f"Failed: {failure}")) for failure in comparison["failures"]]
    page = Text(printable(f"Report: {comparison['folder']}/report.html"))
    return Group(Text(printable(comparison["verdict"]), style="bold"), Text(), table, *failures, Text(), page)


def _cells(row: Mapping[str, Any]) -> list[str]:
    spread = f" ± {100 * row['sd']:.1f}" if row["sd"] is not None else ""
    accuracy = f"{100 * row['mean']:.1f}{spread} %"
    if "difference" not in row:
        return [row["name"], accuracy, str(row["seeds"]), "reference", "", f"{row['fit_seconds']:.1f} s"]
    difference = row["difference"]
    low, high = (100 * bound for bound in difference["interval"])
    shown = f"{100 * difference['mean']:+.1f} ({low:+.1f} to {high:+.1f})"
    return [
        row["name"],
        accuracy,
        str(row["seeds"]),
        shown,
        f"{difference['p_holm']:.2g}",
        f"{row['fit_seconds']:.1f} s",
    ]
