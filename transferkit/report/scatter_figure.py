"""Accuracy over a cost as a figure for papers, by matplotlib: the marks of the page, named in a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transferkit.report.svg_scatter import CostPoint


def scatter_figure(points: Sequence[CostPoint], cost_title: str) -> Any:
    """Points with their intervals over the logarithm of a cost."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, ScalarFormatter

    figure = Figure(figsize=(6.0, 3.0), layout="constrained")
    axes = figure.add_subplot()
    for point in points:
        low, high = (100 * abs(point.accuracy - bound) for bound in point.interval)
        face = "white" if point.style.is_hollow else point.style.hex_colour
        axes.errorbar(
            point.cost,
            100 * point.accuracy,
            yerr=[[low], [high]],
            fmt=point.style.marker,
            color=point.style.hex_colour,
            markerfacecolor=face,
            markersize=5,
            capsize=2,
            label=point.name,
        )
    axes.set(xscale="log", xlabel=cost_title, ylabel="accuracy, % (95 %)")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
