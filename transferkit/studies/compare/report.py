"""A comparison or a label curve as something to look at: its pages, its verdict on the terminal, its figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.report.table_files import PaperTable
from transferkit.runs import result_folders
from transferkit.runs.result_folders import COMPARISON, STUDY
from transferkit.runs.run_directory import Run
from transferkit.runtime import folders
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_text
from transferkit.studies.compare.results import Comparison, LabelCurve, read_comparison

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_pages(folder: Path) -> Comparison | LabelCurve:
    """Make report.html and report.md of a comparison or a label curve from its comparison.json alone, and return it.

    Raises:
        TransferkitError: If another process works in the folder, or it is of something else.
    """
    kind = COMPARISON if folders.kind_of(folder) == COMPARISON.name else STUDY
    with result_folders.hold_results(folder, kind):
        return _write_pages(folder)


def _write_pages(folder: Path) -> Comparison | LabelCurve:
    comparison = read_comparison(folder)
    if isinstance(comparison, LabelCurve):
        from transferkit.studies.compare import label_curve_page as label_curve

        page, markdown = label_curve.label_curve_page(comparison, folder), label_curve.label_curve_markdown(comparison)
    else:
        from transferkit.studies.compare import words as comparison_words
        from transferkit.studies.compare.page import comparison_page

        page, markdown = comparison_page(comparison, folder), comparison_words.markdown(comparison)
    write_text(folder / "report.md", markdown)
    write_text(folder / "report.html", page)
    return comparison


def comparison_verdict(comparison: Comparison | LabelCurve) -> RenderableType:
    """What the terminal shows of a comparison or a label curve."""
    if isinstance(comparison, LabelCurve):
        from transferkit.studies.compare.label_curve_page import label_curve_verdict

        return label_curve_verdict(comparison)
    from transferkit.studies.compare import page as comparisons

    return comparisons.comparison_verdict(comparison)


def comparison_figure(study: Run, name: str, path: Path) -> None:
    """Draw a figure of a comparison (cost, training, operations) or of a label curve (curve), as .pdf, .svg or .png.

    Raises:
        TransferkitError: If there is no such figure of it, or no arm knows what it shows.
    """
    comparison = read_comparison(study.path)
    if isinstance(comparison, LabelCurve):
        from transferkit.studies.compare.label_curve_page import label_curve_figure

        if name != "curve":
            raise TransferkitError(f"There is no figure {name!r} here: a label curve has the figure curve.")
        label_curve_figure(comparison, path)
        return
    from transferkit.report.matplotlib_figures import drawn_to
    from transferkit.report.scatter_figure import scatter_figure
    from transferkit.studies.compare.drawings import COST_FIGURES, cost_points
    from transferkit.studies.compare.styles import by_accuracy

    if name not in COST_FIGURES:
        raise TransferkitError(
            f"There is no figure {name!r} here: a comparison has {', '.join(COST_FIGURES)}; a run has confusion, "
            "recall and training."
        )
    cost, title = COST_FIGURES[name]
    points = cost_points(by_accuracy(comparison.arms), cost, "{:g}".format)
    if not points:
        raise TransferkitError(f"No arm of {study.path} knows {title}. Try another of {', '.join(COST_FIGURES)}.")
    drawn_to(path, lambda: scatter_figure(points, title))


def arms_table(folder: Path) -> PaperTable:
    """The arms of a comparison or a label curve, the best first, for a paper."""
    from transferkit.studies.compare import words

    comparison = read_comparison(folder)
    if isinstance(comparison, LabelCurve):
        rows = [[str(point.labels), *words.paper_cells(arm)] for point, arm in comparison.lines()]
        return PaperTable(["labels per class", *words.PAPER_HEADER], rows)
    arms = sorted(comparison.arms, key=lambda arm: arm.mean, reverse=True)
    return PaperTable(words.PAPER_HEADER, [words.paper_cells(arm) for arm in arms])
