"""The limits report's drawings as SVG files for slides, by matplotlib: with titles, legends and no page around them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.metrics.results import CalibrationBin
from transferkit.report.matplotlib_figures import HIT, MISS, SOFT, drawn_to
from transferkit.report.short_names import shortened
from transferkit.studies.limits import probit
from transferkit.studies.limits.abstaining import SelectiveReport
from transferkit.studies.limits.corruption_severity import CorruptionReport
from transferkit.studies.limits.open_world import OpenWorldReport
from transferkit.studies.limits.out_of_distribution import UnknownSet
from transferkit.studies.limits.probit import Point, ProbitLine
from transferkit.studies.limits.report import LimitsReport

Draw = Callable[[], Any]

COLOURS = (HIT, MISS, "#00755a", "#8c3f87", SOFT)
DASHES = ("-", "--", ":", "-.", "-")
SETS = 8  # at most, so that a folder of figures stays one


def write_figures(folder: Path, report: LimitsReport) -> list[Path]:
    """Draw every figure that the report has numbers for.

    Returns:
        The files, in the order of the page.
    """
    paths = []
    for name, draw in figures(report):
        paths.append(folder / f"{name}.svg")
        drawn_to(paths[-1], draw)
    return paths


def figures(report: LimitsReport) -> Iterator[tuple[str, Draw]]:
    """Names of files and what draws them."""
    yield "reliability", partial(reliability, report.calibration.reliability)
    yield "risk-coverage", partial(risk_coverage, report.selective)
    if isinstance(report.corruptions, CorruptionReport):
        yield "corruptions-by-family", partial(families, report.corruptions)
        yield "corruptions", partial(heat_map, report.corruptions)
    if report.shift:
        yield "other-images-probit", partial(probit_scatter, *shift_points(report))
    for number, row in enumerate(report.unknown.sets[:SETS], 1):
        yield f"unknown-{number}-{file_name(row.name)}", partial(histogram, row)
    if any(table.rows for table in report.open_world.tables):
        yield "open-world", partial(open_world, report.open_world)


def file_name(name: str) -> str:
    """A name as part of a file's name on any system.

    Example:
        >>> file_name("../DTD textures/é")
        'dtd-textures'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "set"


def shift_points(report: LimitsReport) -> tuple[list[Point], list[ProbitLine]]:
    """Own accuracy and that on each set of other images; the published line where a set is CIFAR-10.1."""
    rows = report.shift
    points = [
        Point(row.own.value, row.accuracy.value, row.accuracy.interval, row.name, number)
        for number, row in enumerate(rows)
    ]
    lines = [
        ProbitLine(row.effective.line.slope, row.effective.line.offset, number)
        for number, row in enumerate(rows)
        if row.effective and row.effective.line
    ]
    return points, lines


# ---- drawings ----


def _axes(x_title: str, y_title: str, size: tuple[float, float] = (4.4, 2.9)) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=size, layout="constrained")
    axes = drawn.add_subplot()
    axes.set(xlabel=x_title, ylabel=y_title)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    return drawn, axes


def _line(axes: Any, number: int, xs: npt.ArrayLike, ys: npt.ArrayLike, name: str, marker: str = "") -> None:
    style = {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}
    axes.plot(xs, ys, label=shortened(name, 28), marker=marker, markersize=3.5, **style)


def reliability(bins: Sequence[CalibrationBin]) -> Any:
    """Accuracy over confidence with intervals."""
    drawn, axes = _axes("confidence, %", "accuracy, %", (3.2, 3.0))
    accuracy = np.array([100 * group.accuracy for group in bins])
    bounds = np.array([[100 * bound for bound in group.interval] for group in bins]).reshape(-1, 2)
    errors = np.clip([accuracy - bounds[:, 0], bounds[:, 1] - accuracy], 0, None)
    axes.plot((0, 100), (0, 100), color=SOFT, linestyle="--", linewidth=0.8)
    axes.errorbar([100 * group.confidence for group in bins], accuracy, yerr=errors, fmt="o", color=HIT, markersize=4)
    axes.set(xlim=(0, 101), ylim=(0, 101))
    return drawn


def risk_coverage(selective: SelectiveReport) -> Any:
    """Error rate among the images answered."""
    drawn, axes = _axes("answered, %", "errors among these, %")
    coverage = np.array(selective.coverage)
    error = selective.error.value
    _line(axes, 0, 100 * coverage, 100 * np.array(selective.risk), "this model")
    _line(axes, 1, 100 * coverage, 100 * np.clip((coverage - 1 + error) / coverage, 0, None), "best order")
    _line(axes, 2, 100 * coverage, np.full(len(coverage), 100 * error), "random order")
    axes.legend(frameon=False)
    return drawn


def families(report: CorruptionReport) -> Any:
    """Accuracy over severity by family."""
    drawn, axes = _axes("severity", "accuracy, %")
    for number, (family, by_severity) in enumerate(report.families.items()):
        known = sorted((severity, 100 * accuracy) for severity, accuracy in by_severity.items())
        severities, accuracies = zip(*[(0, 100 * report.clean.value), *known], strict=True)
        _line(axes, number, severities, accuracies, family, "o")
    axes.set_xticks([0, *report.severities], ["clean", *map(str, report.severities)])
    axes.legend(frameon=False)
    return drawn


def heat_map(report: CorruptionReport) -> Any:
    """Accuracy of every corruption and severity."""
    from matplotlib.colors import LinearSegmentedColormap

    names = [row.name for row in report.corruptions]
    cells = {(cell.corruption, cell.severity): cell.accuracy.value for cell in report.cells}
    values = 100 * np.array([[cells[name, severity] for severity in report.severities] for name in names])
    drawn, axes = _axes("severity", "", (1.9 + 0.5 * len(report.severities), 0.7 + 0.24 * len(names)))
    axes.grid(visible=False)
    colours = LinearSegmentedColormap.from_list("hits", ("#ffffff", HIT))
    axes.imshow(values, cmap=colours, vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(report.severities)), report.severities)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", color="white" if value > 65 else "#16202b")
    axes.set_title(f"accuracy, %; clean {100 * report.clean.value:.0f}", fontsize=8)
    return drawn


def histogram(row: UnknownSet) -> Any:
    """How unusual right, wrong and unknown images are."""
    shown = row.histogram
    drawn, axes = _axes("how unusual, shipped score", "images, %")
    for number, name in enumerate(("right", "wrong", "unknown")):
        title = row.name if name == "unknown" else f"own, {name}"
        style = {"color": COLOURS[number], "linestyle": DASHES[number]}
        axes.stairs(100 * np.array(shown.shares[name]), shown.edges, label=shortened(title, 28), **style)
    if shown.threshold is not None:
        axes.axvline(shown.threshold, color=SOFT, linestyle="--", linewidth=0.8)
    axes.legend(frameon=False)
    return drawn


def open_world(report: OpenWorldReport) -> Any:
    """Errors among accepted answers over the share of unknown inputs, as shipped."""
    table = next(table for table in report.tables if table.rows)
    drawn, axes = _axes("inputs of unknown things, %", "errors among accepted, %")
    for number, row in enumerate(table.rows):
        known = [(100 * cell.prevalence, 100 * cell.error) for cell in row.cells if cell.error is not None]
        shares, errors = zip(*known, strict=True) if known else ((), ())
        _line(axes, number, shares, errors, row.set, "o")
    axes.axhline(100 * report.target, color=SOFT, linewidth=0.8)
    axes.annotate("target", (axes.get_xlim()[1], 100 * report.target), ha="right", va="bottom", color=SOFT)
    axes.legend(frameon=False)
    return drawn


def probit_scatter(points: Sequence[Point], lines: Sequence[ProbitLine]) -> Any:
    """Accuracy there over accuracy here; see `probit`."""
    frame = probit.frame_of(points)
    drawn, axes = _axes("own test images, %", "other images, %", (3.8, 3.2))
    straight = [(1.0, 0.0, SOFT, "--"), *((line.slope, line.offset, HIT, ":") for line in lines)]
    for slope, offset, colour, style in straight:
        ends = probit.ends(frame, slope, offset)
        if ends is not None:
            axes.plot(*zip(*ends, strict=True), color=colour, linestyle=style, linewidth=0.9)
    for point in points:
        x, y = probit.probit(point.here), probit.probit(point.there)
        bounds = [probit.probit(bound) for bound in point.interval] or [y, y]
        errors = [[max(0.0, y - bounds[0])], [max(0.0, bounds[1] - y)]]
        colour = COLOURS[point.colour % len(COLOURS)]
        axes.errorbar([x], [y], yerr=errors, fmt="o", color=colour, markersize=4.5, label=shortened(point.name, 28))
    for set_ticks, extent in ((axes.set_xticks, frame.x_range), (axes.set_yticks, frame.y_range)):
        values = probit.ticks_within(extent)
        set_ticks([probit.probit(value) for value in values], [f"{100 * value:g}" for value in values])
    axes.set(xlim=frame.x_range, ylim=frame.y_range)
    axes.legend(frameon=False, fontsize=7)
    return drawn
