"""A measurement of gradient flow as something to look at: its page, its figures, its verdict on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.runtime.files import write_text
from transferkit.studies.lab.gradient_flow_results import GradientFlow, read_gradient_flow

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_gradient_flow(folder: Path) -> None:
    """Make report.html, gradient-flow.png and .svg from gradient-flow.json alone."""
    from transferkit.studies.lab import gradient_flow_page as gradient_flow

    flow = read_gradient_flow(folder)
    write_text(folder / "report.html", gradient_flow.page(flow))
    for suffix in ("png", "svg"):
        gradient_flow.draw(flow, folder / f"gradient-flow.{suffix}")


def gradient_flow_verdict(flow: GradientFlow) -> RenderableType:
    """What the terminal shows of a measurement of gradient flow."""
    from transferkit.studies.lab import gradient_flow_page as gradient_flow

    return gradient_flow.verdict(flow)
