"""A limits report as something to look at: its pages, its drawings, and its verdict on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.runtime.files import write_text
from transferkit.studies.limits.comparison_results import LimitsComparison
from transferkit.studies.limits.report import LimitsReport, gallery_pixels

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_limits(folder: Path) -> None:
    """Make limits.html, limits.md and figs/*.svg from limits.json and pictures.safetensors alone."""
    from transferkit.studies.limits.figures import write_figures
    from transferkit.studies.limits.markdown import limits_markdown
    from transferkit.studies.limits.page import limits_page

    report = LimitsReport.read(folder)
    write_text(folder / "limits.md", limits_markdown(report))
    write_figures(folder / "figs", report)
    write_text(folder / "limits.html", limits_page(report, gallery_pixels(folder)))


def limits_verdict(report: LimitsReport) -> RenderableType:
    """What the terminal shows of a limits report."""
    from transferkit.studies.limits import page as limits

    return limits.limits_verdict(report)


def write_limits_comparison(folder: Path) -> None:
    """Make limits-comparison.html from limits-comparison.json alone."""
    from transferkit.studies.limits.comparison_page import limits_comparison_page

    comparison = LimitsComparison.read(folder)
    write_text(folder / "limits-comparison.html", limits_comparison_page(comparison))


def limits_comparison_verdict(comparison: LimitsComparison) -> RenderableType:
    """What the terminal shows of a comparison of limits."""
    from transferkit.studies.limits import comparison_page as limits_comparison

    return limits_comparison.limits_comparison_verdict(comparison)
