"""A tuning as something to look at: its pages, and its verdict on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.runtime.files import write_text
from transferkit.studies.tune.results import Tuning

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_pages(folder: Path) -> Tuning:
    """Make report.md and report.html of a tuning from its tuning.json alone."""
    from transferkit.studies.tune import page

    tuning = Tuning.read(folder)
    write_text(folder / "report.md", page.tuning_markdown(tuning))
    write_text(folder / "report.html", page.tuning_page(tuning))
    return tuning


def tuning_verdict(tuning: Tuning) -> RenderableType:
    """What the terminal shows of a tuning."""
    from transferkit.studies.tune import page

    return page.tuning_verdict(tuning)
