"""Figures as files for papers and slides, drawn by matplotlib: PDF, SVG or PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.report import layers
from transferkit.report.content import Content, gather
from transferkit.report.short_names import shortened
from transferkit.report.svg_confusion_matrix import LABELLED_UP_TO, NUMBERED_UP_TO, similarity_order
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.runtime.figure_files import figure_suffix
from transferkit.runtime.files import write_atomically

INK, SOFT, HIT, MISS = "#16202b", "#56616d", "#08488a", "#b33c00"  # blue and orange: apart in every colour vision
STYLE: Any = {
    "font.size": 8,
    "axes.labelsize": 9,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,  # a class called "$x$" is a name, not a formula
    "pdf.fonttype": 42,  # journals refuse Type 3 fonts
    "svg.fonttype": "none",
    "svg.hashsalt": "transferkit",
    "savefig.dpi": 300,
}


def figure(run: Run, name: str, path: Path) -> None:
    """Draw one of the run's figures into a file; its suffix decides the format.

    Raises:
        TransferkitError: If the figure or the format is unknown, or the run lacks what the figure shows.
    """
    drawn_to(path, lambda: drawn(run, name))


def drawn_to(path: Path, draw: Callable[[], Any]) -> None:
    """Write what `draw` makes into a file; its suffix decides the format.

    Raises:
        TransferkitError: If the format is unknown.
    """
    suffix = figure_suffix(path)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with mpl.rc_context(STYLE):
        figure = draw()
        FigureCanvasAgg(figure)
        write_atomically(path, lambda temporary: figure.savefig(temporary, format=suffix, bbox_inches="tight"))


def drawn(run: Run, name: str) -> Any:
    """One of the run's figures, as matplotlib's Figure.

    Raises:
        TransferkitError: If the figure is unknown, or the run lacks what it shows.
    """
    import matplotlib as mpl

    if name not in FIGURES:
        raise TransferkitError(f"Unknown figure {name!r}. {did_you_mean(name, FIGURES)}")
    with mpl.rc_context(STYLE):
        return FIGURES[name](gather(run))


def _confusion(content: Content) -> Any:
    """Row shares as shades, counts as numbers; classes often confused are neighbours where there are many."""
    from matplotlib.figure import Figure

    _require(content, "evaluation", content.scores)
    classes = len(content.class_names)
    order = similarity_order(content.confusion) if classes > LABELLED_UP_TO else list(range(classes))
    confusion = content.confusion[np.ix_(order, order)]
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = max(2.4, min(6.5, 0.36 * classes + 1.0))  # inches; a page's text is 6.5 wide
    drawn = Figure(figsize=(side, side), layout="constrained")
    axes = drawn.add_subplot()
    axes.imshow(_colours(shares), interpolation="nearest")
    if classes <= LABELLED_UP_TO:
        names = [shortened(content.class_names[index], 18) for index in order]
        axes.set_xticks(range(classes), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), names)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0)
    if classes <= NUMBERED_UP_TO:
        _write_counts(axes, confusion, shares)
    return drawn


def _colours(shares: Any) -> Any:
    """(C, C, 3): hits towards blue, mistakes towards orange, by the root of the share as in the page."""
    from matplotlib.colors import to_rgb

    strength = np.sqrt(shares)[..., None]
    target = np.where(np.eye(len(shares), dtype=bool)[..., None], to_rgb(HIT), to_rgb(MISS))
    return 1 + strength * (target - 1)


def _write_counts(axes: Any, confusion: Any, shares: Any) -> None:
    size = 8 if len(confusion) <= 12 else 6
    for row, column in np.argwhere(confusion).tolist():
        colour = "white" if shares[row, column] > 0.4 else INK
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", size=size, color=colour)


def _training(content: Content) -> Any:
    """Loss, and val accuracy where there is one, over epochs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    _require(content, "history", content.history)
    losses = [(epoch.epoch, epoch.loss) for epoch in content.history if epoch.loss is not None]
    accuracies = [(epoch.epoch, 100 * (epoch.val_accuracy or 0.0)) for epoch in content.history.judged]
    panels = {"training loss": losses, "validation accuracy, %": accuracies}
    shown = {title: points for title, points in panels.items() if points}
    drawn = Figure(figsize=(3.2 * len(shown), 2.4), layout="constrained")
    for position, (title, points) in enumerate(shown.items(), 1):
        axes = drawn.add_subplot(1, len(shown), position)
        axes.plot(*zip(*points, strict=True), color=HIT, marker="o", markersize=3)
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    return drawn


def _recall(content: Content) -> Any:
    """The recall of every class with its interval, worst at the bottom."""
    from matplotlib.figure import Figure

    _require(content, "evaluation", content.scores)
    per_class = content.scores.per_class if content.scores else ()
    rows = sorted((row for row in per_class if row.recall is not None), key=lambda row: row.recall or 0.0)
    values = 100 * np.array([row.recall for row in rows])
    bounds = 100 * np.array([row.recall_interval for row in rows])
    drawn = Figure(figsize=(4.5, max(1.6, 0.19 * len(rows) + 0.6)), layout="constrained")
    axes = drawn.add_subplot()
    errors = np.clip([values - bounds[:, 0], bounds[:, 1] - values], 0, None)
    axes.errorbar(values, range(len(rows)), xerr=errors, fmt="o", color=HIT, ecolor=SOFT, markersize=3.5, capsize=2)
    axes.set_yticks(range(len(rows)), [shortened(row.name, 24) for row in rows])
    axes.set(xlabel="recall, % (95 % interval)", xlim=(0, 100), ylim=(-0.7, len(rows) - 0.3))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    return drawn


def _layers(content: Content) -> Any:
    """Accuracy at every layer, over receptive field and map size."""
    if not layers.rows_of(content):
        raise TransferkitError(
            "This figure needs a probe of several layers. Make one with: transferkit probe BACKBONE --layers all"
        )
    return layers.figure(content, (HIT, MISS, SOFT))


def _require(content: Content, part: str, value: Any) -> None:
    if not value:
        reason = content.missing.get(part, "A probe has no training log.")
        raise TransferkitError(f"This figure needs the run's {part}. {reason}")


FIGURES: dict[str, Callable[[Content], Any]] = {
    "confusion": _confusion,
    "layers": _layers,
    "recall": _recall,
    "training": _training,
}
