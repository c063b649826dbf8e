"""Networks of two depths as a table and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from transferkit.metrics.statistics import wilson
from transferkit.report.matplotlib_figures import HIT, MISS, drawn_to
from transferkit.studies.lab.depth_curves import KINDS, Curves, DepthCurves, depth

TABLE_TITLES = ("network", "error on train, %", "error on unseen, % (95 %)", "least to most of seeds")


def table_rows(result: DepthCurves) -> list[tuple[str, ...]]:
    """The errors after the last epoch, below `TABLE_TITLES`."""
    rows: list[tuple[str, ...]] = []
    for name, curves in result.networks.items():
        low, high = wilson(round(curves.last_unseen * result.n), result.n).bounds
        unseen = f"{100 * curves.last_unseen:.1f} ({100 * low:.1f}-{100 * high:.1f})"
        lasts = [curve[-1] for curve in curves.train]
        spread = f"{100 * min(lasts):.1f}-{100 * max(lasts):.1f} on train"
        rows.append((name, f"{100 * curves.last_train:.1f}", unseen, spread))
    return rows


def draw(result: DepthCurves, path: Path) -> None:
    """Draw the curves; the suffix decides the format."""
    drawn_to(path, lambda: figure(result))


def figure(result: DepthCurves) -> Any:
    """Plain networks left, residual ones right, on one scale: orange is deeper, dashes are train images."""
    from matplotlib.figure import Figure

    kinds = [kind for kind in KINDS if any(name.startswith(kind) for name in result.networks)] or [""]
    drawing = Figure(figsize=(0.6 + 3.7 * len(kinds), 3.2), layout="constrained")
    panels = drawing.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        names = sorted((name for name in result.networks if name.startswith(kind)), key=depth)
        for name in names:
            _draw_network(axes, name, result.networks[name], is_deep=name != names[0])
        axes.set(xlabel="epoch", ylim=(0, 100), xlim=(0, result.epochs))
        axes.legend(frameon=False, fontsize=7)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    panels[0].set_ylabel("error, %")
    return drawing


def _draw_network(axes: Any, name: str, curves: Curves, *, is_deep: bool) -> None:
    colour = MISS if is_deep else HIT
    for part, errors, dashes in (("train", curves.train, "--"), ("unseen", curves.unseen, "-")):
        values = 100 * np.array(errors)  # (S, E + 1)
        epochs = range(values.shape[1])
        axes.plot(epochs, values.mean(0), dashes, color=colour, lw=1.5, label=f"{name}, {part}")
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.1, lw=0)
