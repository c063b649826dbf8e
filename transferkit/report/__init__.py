"""A finished run as something to look at: report.html, report.md, confusion.csv and the verdict on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.checkpoint import read_json, write_text
from transferkit.run_directory import Run

if TYPE_CHECKING:
    from rich.console import RenderableType


def write(run: Run) -> None:
    """Make report.html, report.md and confusion.csv from the run's stored files alone."""
    from transferkit.report.content import gather
    from transferkit.report.markdown import confusion_csv, markdown
    from transferkit.report.page import page

    content = gather(run)
    write_text(run.path / "report.html", page(content))
    write_text(run.path / "report.md", markdown(content))
    if content.scores:
        write_text(run.path / "confusion.csv", confusion_csv(content))


def verdict(run: Run) -> RenderableType:
    """What the terminal shows of a finished run, in at most 40 lines of 80 columns."""
    from transferkit.report import terminal
    from transferkit.report.content import gather

    return terminal.verdict(gather(run), str(run.path / "report.html"))


def write_comparison(folder: Path) -> None:
    """Make report.html of a study from its comparison.json alone."""
    from transferkit.report.comparison import comparison_page

    comparison = read_json(folder / "comparison.json")
    write_text(folder / "report.html", comparison_page(comparison, folder))


def comparison_verdict(comparison: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a comparison."""
    from transferkit.report import comparison as comparisons

    return comparisons.comparison_verdict(comparison)


def write_ranking(folder: Path) -> None:
    """Make report.html and report.md of a ranking from its ranking.json alone."""
    from transferkit.report import ranking

    content = read_json(folder / "ranking.json")
    write_text(folder / "report.html", ranking.ranking_page(content))
    write_text(folder / "report.md", ranking.ranking_markdown(content))


def ranking_verdict(ranking: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a ranking."""
    from transferkit.report import ranking as rankings

    return rankings.ranking_verdict(ranking)


def write_gradient_flow(folder: Path) -> None:
    """Make report.html, gradient-flow.png and .svg from gradient-flow.json alone."""
    from transferkit.report import gradient_flow

    flow = read_json(folder / "gradient-flow.json")
    write_text(folder / "report.html", gradient_flow.page(flow))
    for suffix in ("png", "svg"):
        gradient_flow.draw(flow, folder / f"gradient-flow.{suffix}")


def gradient_flow_verdict(flow: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a measurement of gradient flow."""
    from transferkit.report import gradient_flow

    return gradient_flow.verdict(flow)


def figure(run: Run, name: str, path: Path) -> None:
    """Draw one figure of a run for a paper, as .pdf, .svg or .png."""
    from transferkit.report.figures import figure as draw

    draw(run, name, path)
