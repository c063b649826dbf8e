"""A ranking as something to look at: its pages, and its verdict on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.report.table_files import PaperTable
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_text
from transferkit.studies.rank.results import Ranking

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_pages(folder: Path) -> None:
    """Make report.html and report.md of a ranking from its ranking.json alone."""
    from transferkit.studies.rank import page

    ranking = Ranking.read(folder)
    write_text(folder / "report.md", page.ranking_markdown(ranking))
    write_text(folder / "report.html", page.ranking_page(ranking))


def ranking_verdict(ranking: Ranking) -> RenderableType:
    """What the terminal shows of a ranking."""
    from transferkit.studies.rank import page

    return page.ranking_verdict(ranking)


def ranking_figure(folder: Path, name: str, target: Path) -> None:
    """Draw the figure `cost` of a ranking: accuracy over the operations per image.

    Raises:
        TransferkitError: If there is no such figure.
    """
    from transferkit.report.matplotlib_figures import drawn_to
    from transferkit.report.scatter_figure import scatter_figure
    from transferkit.studies.rank import page

    if name != "cost":
        raise TransferkitError(f"There is no figure {name!r} here: a ranking has the figure cost.")
    points = page.cost_points(Ranking.read(folder).rows)
    drawn_to(target, lambda: scatter_figure(points, "operations per image"))


def backbones_table(folder: Path) -> PaperTable:
    """The backbones of a ranking for a paper."""
    from transferkit.studies.rank import page

    rows = [
        [
            row.label,
            f"{100 * row.accuracy:.1f}",
            f"{100 * row.interval[0]:.1f} to {100 * row.interval[1]:.1f}",
            page.gigaflops(row.flops),
        ]
        for row in Ranking.read(folder).rows
    ]
    return PaperTable(["backbone", "probe, %", "95 %", "GFLOPs"], rows)
