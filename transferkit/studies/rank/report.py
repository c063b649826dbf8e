"""A ranking as something to look at: its pages, and its verdict on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.runtime.files import write_text
from transferkit.studies.rank.results import Ranking, read_ranking

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_pages(folder: Path) -> None:
    """Make report.html and report.md of a ranking from its ranking.json alone."""
    from transferkit.studies.rank import page

    ranking = read_ranking(folder)
    write_text(folder / "report.md", page.ranking_markdown(ranking))
    write_text(folder / "report.html", page.ranking_page(ranking))


def ranking_verdict(ranking: Ranking) -> RenderableType:
    """What the terminal shows of a ranking."""
    from transferkit.studies.rank import page

    return page.ranking_verdict(ranking)
