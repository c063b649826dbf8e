"""A comparison as a page and on the terminal: one verdict, one table, and how the arms differ."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.report import number_words as words
from transferkit.report.page import rendered
from transferkit.report.short_names import shortened
from transferkit.report.svg_whiskers import track_scale
from transferkit.runtime.console import printable
from transferkit.runtime.durations import duration
from transferkit.studies.compare import drawings as drawn
from transferkit.studies.compare import line_drawings
from transferkit.studies.compare import words as compare_words
from transferkit.studies.compare.headlines import comparison_headline
from transferkit.studies.compare.results import Arm, ArmDifference, Comparison
from transferkit.studies.compare.styles import by_accuracy
from transferkit.studies.compare.verdict import signed_points, units

FOLDER = Path(__file__).parent

NAME_WIDTH = 18


@dataclass(frozen=True)
class RunLink:
    """A run of an arm with the address of its page and its accuracy, in [0, 1]."""

    name: str
    href: str
    accuracy: float


def comparison_page(comparison: Comparison, folder: Path) -> str:
    """The comparison as one HTML file that loads nothing."""
    arms, reference = by_accuracy(comparison.arms), comparison.reference
    return rendered(
        FOLDER / "comparison.html.jinja",
        comparison=comparison,
        linked=[(arm, links(arm, folder)) for arm in arms],
        headline=comparison_headline(comparison),
        units=units(comparison.groups),
        sample_size=words.sample_size(comparison.n, comparison.groups, " test images"),
        compare_words=compare_words,
        notes=compare_words.notes(comparison),
        openings=sum(row.test_openings for row in comparison.arms),
        cost_drawings=drawn.cost_drawings(arms),
        scale=track_scale([arm.interval for arm in arms]),
        swatches={entry.name: entry.swatch for entry in drawn.arm_key(arms)},
        cost_key=drawn.cost_key(arms),
        class_drawing=drawn.class_differences(arms, reference, comparison.class_names),
        class_key=drawn.class_key(arms, reference),
        agreement_drawing=drawn.agreement(comparison.agreement, [arm.name for arm in arms]),
        learning_drawings=line_drawings.learning_curves(arms),
        learning_key=line_drawings.learning_key(arms),
    )


def links(row: Arm, folder: Path) -> list[RunLink]:
    """Where each run's own page lies, relative to the comparison, also after the folder was moved with its runs."""
    linked = []
    for path, accuracy in zip(row.runs, row.accuracies, strict=True):
        run = Path(path) if Path(path).exists() else folder / "runs" / Path(path).name
        target = Path(os.path.relpath(run.absolute(), folder.absolute()))
        linked.append(RunLink(run.name, quote(f"{target.as_posix()}/report.html"), accuracy))
    return linked


def comparison_verdict(comparison: Comparison) -> RenderableType:
    """What the terminal shows of a comparison, in 80 columns."""
    failures = [Text(printable(f"failed: {failure}"), style="bold") for failure in comparison.failures]
    below = [Text(printable(line), style="dim") for line in _below(comparison)]
    page = Text(printable(f"Report: {comparison.folder}/report.html"))
    sentence = Text(printable(comparison.verdict), style="bold")
    return Group(
        sentence, Text(), arms_table(by_accuracy(comparison.arms), comparison.groups), Text(), *below, *failures, page
    )


def _below(comparison: Comparison) -> list[str]:
    budget = [comparison.budget_in_words] if comparison.budget_in_words else []
    return [*budget, *compare_words.reading(comparison)]


def arms_table(rows: Sequence[Arm], groups: int | None = None) -> Table:
    """Two lines per arm: what it reaches and costs above, the intervals and the rest below."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("arm\nlength", no_wrap=True, max_width=NAME_WIDTH)
    for title in (
        f"accuracy, %\n95 % {units(groups)}",
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


def _stacked(row: Arm) -> list[Text]:
    difference = row.difference
    how = ("", "reference", "") if not difference else _difference(difference)
    style = "bold" if difference and difference.shown else ""
    return [
        two_lines(shortened(row.name, NAME_WIDTH), shortened(compare_words.length(row), NAME_WIDTH)),
        two_lines(compare_words.accuracy(row), compare_words.interval(row.interval)),
        two_lines(how[0] or how[1], how[1] if how[0] else "", style),
        two_lines(how[2], ""),
        two_lines(compare_words.count(row.trained_parameters), compare_words.gigaflops(row.flops_per_image)),
        two_lines(duration(row.fit_seconds), compare_words.rate(row.predicted_images_per_second)),
        two_lines(compare_words.gigabytes(row.peak_memory_bytes), ""),
    ]


def _difference(difference: ArmDifference) -> tuple[str, str, str]:
    return (
        signed_points(difference.mean),
        compare_words.signed_interval(difference),
        words.p_value(difference.p_holm),
    )


def two_lines(above: str, below: str, style: str = "") -> Text:
    """A cell with its main value above and what goes with it, softer, below."""
    return Text.assemble((printable(above), style), "\n", (printable(below), "dim"))
