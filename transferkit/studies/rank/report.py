"""A ranking as something to look at: its pages, and its verdict on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.runtime.files import write_text
from transferkit.runtime.json_files import read_result

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_ranking(folder: Path) -> None:
    """Make report.html and report.md of a ranking from its ranking.json alone."""
    from transferkit.studies.rank import page as ranking

    content = read_result(folder / "ranking.json")
    write_text(folder / "report.md", ranking.ranking_markdown(content))
    write_text(folder / "report.html", ranking.ranking_page(content))


def ranking_verdict(ranking: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a ranking."""
    from transferkit.studies.rank import page as rankings

    return rankings.ranking_verdict(ranking)
