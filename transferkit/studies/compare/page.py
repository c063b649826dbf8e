"""A comparison as a page and on the terminal: one verdict, one table, and how the arms differ."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.report import content as words
from transferkit.report.page import rendered
from transferkit.report.plots import shortened
from transferkit.runtime.console import printable
from transferkit.studies.compare import drawings as drawn
from transferkit.studies.compare import words as told
from transferkit.studies.compare.measure import signed_points

FOLDER = Path(__file__).parent

NAME_WIDTH = 18


def comparison_page(comparison: Mapping[str, Any], folder: Path) -> str:
    """The comparison as one HTML file that loads nothing."""
    arms = [{**row, "links": links(row, folder)} for row in comparison["arms"]]
    return rendered(
        FOLDER / "comparison.html.jinja",
        comparison={**comparison, "arms": arms},
        headline=headline(comparison["arms"]),
        told=told,
        notes=told.notes(comparison),
        openings=sum(row["test_openings"] for row in comparison["arms"]),
        cost_drawings=drawn.cost_drawings(arms),
        class_drawing=drawn.class_differences(arms, comparison.get("class_names") or []),
        agreement_drawing=drawn.agreement(comparison.get("agreement") or {}),
        learning_drawings=drawn.learning_curves(arms),
        key=drawn.key(arms),
    )


def headline(arms: Sequence[Mapping[str, Any]]) -> str:
    """The arms by their accuracy, best first; of many, the best ones."""
    ranked = sorted(arms, key=lambda row: row["mean"], reverse=True)
    more = f" and {len(ranked) - 4} more" if len(ranked) > 5 else ""
    shown = ranked[:4] if more else ranked
    return ", ".join(f"{row['name']} {100 * row['mean']:.1f} %" for row in shown) + more


def links(row: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Where each run's own page lies, relative to the comparison, also after the folder was moved with its runs."""
    found = []
    for path, accuracy in zip(row["runs"], row["accuracies"], strict=True):
        run = Path(path) if Path(path).exists() else folder / "runs" / Path(path).name
        target = Path(os.path.relpath(run.absolute(), folder.absolute()))
        found.append({"name": run.name, "href": quote(f"{target.as_posix()}/report.html"), "accuracy": accuracy})
    return found


def comparison_verdict(comparison: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a comparison, in 80 columns."""
    failures = [Text(printable(f"failed: {failure}"), style="bold") for failure in comparison["failures"]]
    below = [Text(printable(line), style="dim") for line in _below(comparison)]
    page = Text(printable(f"Report: {comparison['folder']}/report.html"))
    sentence = Text(printable(comparison["verdict"]), style="bold")
    return Group(sentence, Text(), arms_table(comparison["arms"]), Text(), *below, *failures, page)


def _below(comparison: Mapping[str, Any]) -> list[str]:
    budget = [comparison["budget_in_words"]] if comparison.get("budget_in_words") else []
    return [*budget, *told.reading(comparison)]


def arms_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Two lines per arm: what it reaches and costs above, the intervals and the rest below."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("arm\nlength", no_wrap=True, max_width=NAME_WIDTH)
    for title in (
        "accuracy, %\n95 % images",
        "difference\n95 %, points",
        "p\nHolm",
        "trained\nGFLOPs",
        "fit\nimg/s",
        "memory\n",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_stacked(row))
    return table


def _stacked(row: Mapping[str, Any]) -> list[Text]:
    difference = row.get("difference")
    how = ("", "reference", "") if not difference else _difference(difference)
    style = "bold" if difference and difference["shown"] else ""
    return [
        two_lines(shortened(row["name"], NAME_WIDTH), shortened(told.length(row), NAME_WIDTH)),
        two_lines(told.accuracy(row), told.interval(row)),
        two_lines(how[0] or how[1], how[1] if how[0] else "", style),
        two_lines(how[2], ""),
        two_lines(told.count(row.get("trained_parameters")), told.gigaflops(row.get("flops_per_image"))),
        two_lines(told.brief(row.get("fit_seconds")), told.rate(row.get("predicted_images_per_second"))),
        two_lines(told.gigabytes(row.get("peak_memory_bytes")), ""),
    ]


def _difference(difference: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        signed_points(difference["mean"]),
        told.signed_interval(difference),
        words.p_value(difference["p_holm"]),
    )


def two_lines(above: str, below: str, style: str = "") -> Text:
    """A cell with its main value above and what goes with it, softer, below."""
    return Text.assemble((printable(above), style), "\n", (printable(below), "dim"))
