"""A grid of small CNNs as a table and a figure: what each gets right, beside what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transferkit.report.matplotlib_figures import HIT, INK, MISS, SOFT, drawn_to
from transferkit.studies.lab.convolution_grid import ConvolutionGrid, GridRow

COSTS: dict[str, Callable[[GridRow], float]] = {
    "million MACs": lambda row: row.macs / 1e6,
    "thousand parameters": lambda row: row.parameters / 1e3,
    "seconds": lambda row: row.seconds,
}
ROW_INCHES, FRAME_INCHES = 0.24, 1.1


TABLE_TITLES = ("network", "accuracy, %", "points (± 95 %)", "MACs", "parameters", "s")


def table_rows(grid: ConvolutionGrid) -> list[tuple[str, ...]]:
    """The table that the terminal shows, below `TABLE_TITLES`."""
    return [
        (
            row.name,
            f"{100 * row.accuracy:.1f}",
            difference(row),
            f"{row.macs:,}",
            f"{row.parameters:,}",
            f"{row.seconds:.1f}",
        )
        for row in grid.rows
    ]


def difference(row: GridRow) -> str:
    """By how many points a network is better than the first one, with the half width of its interval."""
    if row.difference is None or row.interval is None:
        return ""
    return f"{100 * row.difference:+.1f} ± {50 * (row.interval[1] - row.interval[0]):.1f}"


def draw(grid: ConvolutionGrid, path: Path) -> None:
    """Draw accuracy and costs into a file; the suffix decides the format."""
    drawn_to(path, lambda: figure(grid))


def figure(grid: ConvolutionGrid) -> Any:
    """A row per network: a dot per seed, and a bar for each cost."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9, FRAME_INCHES + ROW_INCHES * len(grid.rows)), layout="constrained")
    left, *others = drawing.subplots(1, 1 + len(COSTS), sharey=True, width_ratios=(2.2, 1, 1, 1))
    _accuracies(left, grid)
    for axes, (title, cost) in zip(others, COSTS.items(), strict=True):
        _bars(axes, title, [cost(row) for row in grid.rows])
    return drawing


def _accuracies(axes: Any, grid: ConvolutionGrid) -> None:
    for place, row in enumerate(grid.rows):
        colour = MISS if row.differs else HIT
        axes.plot([100 * share for share in row.accuracies], [place] * grid.seeds, "o", color=colour, alpha=0.55, ms=4)
        axes.plot(100 * row.accuracy, place, "|", color=INK, ms=11, mew=1.5)
    axes.axvline(100 * grid.rows[0].accuracy, color=SOFT, lw=0.7, ls=":")
    axes.set_yticks(range(len(grid.rows)), [row.name for row in grid.rows])
    axes.set_ylim(len(grid.rows) - 0.4, -0.6)
    axes.set_xlabel(f"accuracy, % (n = {grid.n:,}; dots: seeds, line: mean)")
    if any(row.differs for row in grid.rows):
        axes.set_title(f"orange: beyond chance different from {grid.rows[0].name}", loc="left", fontsize=8, color=MISS)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)


def _bars(axes: Any, title: str, values: Sequence[float]) -> None:
    axes.barh(range(len(values)), values, color=SOFT, height=0.62)
    for place, value in enumerate(values):
        axes.text(value, place, f" {value:.2g}" if value < 10 else f" {value:,.0f}", va="center", fontsize=7)
    axes.set_xlabel(title)
    axes.set_xlim(0, 1.3 * max(values))
    axes.tick_params(left=False)
