"""A finished run as something to look at: report.html, report.md, confusion.csv and the verdict on the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit import folders, result_folders, run_directory
from transferkit.checkpoint import read_arrays, read_json, write_text
from transferkit.errors import TransferkitError
from transferkit.result_folders import COMPARISON, STUDY
from transferkit.run_directory import Run
from transferkit.run_files import read_result

if TYPE_CHECKING:
    from rich.console import RenderableType


def write(run: Run) -> None:
    """Make report.html, report.md and confusion.csv from the run's stored files alone.

    Raises:
        TransferkitError: If another process works in the run's folder.
    """
    with run_directory.held(run):
        _write(run)


def _write(run: Run) -> None:
    from transferkit.report.content import gather
    from transferkit.report.markdown import confusion_csv, markdown
    from transferkit.report.page import page

    _map(run)
    content = gather(run)
    write_text(run.path / "report.md", markdown(content))
    if content.scores:
        write_text(run.path / "confusion.csv", confusion_csv(content))
    write_text(run.path / "report.html", page(content))


def _map(run: Run) -> None:
    """Lay out the map of the test features once; it takes a second or two, and the run keeps it."""
    from transferkit.evaluation import thumbnail_choice
    from transferkit.explanations.feature_map import feature_map

    if run.map_path.exists() or not run.outputs_path("test").exists():
        return
    with contextlib.suppress(TransferkitError):  # damaged outputs; the page says so where it needs them
        test = run.outputs("test")
        feature_map(test, thumbnail_choice(test)).save(run.map_path)


def verdict(run: Run) -> RenderableType:
    """What the terminal shows of a finished run, in at most 40 lines of 80 columns."""
    from transferkit.report import terminal
    from transferkit.report.content import gather

    return terminal.verdict(gather(run), str(run.path / "report.html"))


def first_sentence(run: Run) -> str:
    """The verdict in one sentence: what went wrong, with what to try, or else the result."""
    from transferkit.report.content import gather
    from transferkit.report.headline import headline

    return headline(gather(run))


def write_comparison(folder: Path) -> dict[str, Any]:
    """Make report.html and report.md of a comparison or a label curve from its comparison.json alone, and return it.

    Raises:
        TransferkitError: If another process works in the folder, or it is of something else.
    """
    kind = COMPARISON if folders.kind_of(folder) == COMPARISON.name else STUDY
    with result_folders.held(folder, kind):
        return _write_comparison(folder)


def _write_comparison(folder: Path) -> dict[str, Any]:
    comparison = read_result(folder / "comparison.json")
    if comparison.get("kind") == "curve":
        from transferkit.report import label_curve

        page, markdown = label_curve.label_curve_page(comparison, folder), label_curve.label_curve_markdown(comparison)
    else:
        from transferkit.report import comparison_words
        from transferkit.report.comparison import comparison_page

        page, markdown = comparison_page(comparison, folder), comparison_words.markdown(comparison)
    write_text(folder / "report.md", markdown)
    write_text(folder / "report.html", page)
    return comparison


def comparison_verdict(comparison: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a comparison or a label curve."""
    if comparison.get("kind") == "curve":
        from transferkit.report.label_curve import label_curve_verdict

        return label_curve_verdict(comparison)
    from transferkit.report import comparison as comparisons

    return comparisons.comparison_verdict(comparison)


def write_limits(folder: Path) -> None:
    """Make limits.html, limits.md and figs/*.svg from limits.json and pictures.safetensors alone."""
    from transferkit.report.limits import limits_page
    from transferkit.report.limits_figures import write_figures
    from transferkit.report.limits_markdown import limits_markdown

    report = read_result(folder / "limits.json")
    pictures, _ = read_arrays(folder / "pictures.safetensors")
    write_text(folder / "limits.md", limits_markdown(report))
    write_figures(folder / "figs", report)
    write_text(folder / "limits.html", limits_page(report, pictures["pixels"]))


def limits_verdict(report: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a limits report."""
    from transferkit.report import limits

    return limits.limits_verdict(report)


def comparison_figure(study: Run, name: str, path: Path) -> None:
    """Draw the figure `curve` of a label curve, as .pdf, .svg or .png.

    Raises:
        TransferkitError: If there is no such figure of this comparison.
    """
    from transferkit.report.label_curve import label_curve_figure

    comparison = read_result(study.path / "comparison.json")
    if name != "curve" or comparison.get("kind") != "curve":
        which = "a label curve has the figure curve" if comparison.get("kind") == "curve" else "a comparison has none"
        raise TransferkitError(f"There is no figure {name!r} here: {which}; a run has confusion, recall and training.")
    label_curve_figure(comparison, path)


def write_ranking(folder: Path) -> None:
    """Make report.html and report.md of a ranking from its ranking.json alone."""
    from transferkit.report import ranking

    content = read_result(folder / "ranking.json")
    write_text(folder / "report.md", ranking.ranking_markdown(content))
    write_text(folder / "report.html", ranking.ranking_page(content))


def ranking_verdict(ranking: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a ranking."""
    from transferkit.report import ranking as rankings

    return rankings.ranking_verdict(ranking)


def write_limits_comparison(folder: Path) -> None:
    """Make limits-comparison.html from limits-comparison.json alone."""
    from transferkit.report.limits_comparison import limits_comparison_page

    found = read_result(folder / "limits-comparison.json")
    write_text(folder / "limits-comparison.html", limits_comparison_page(found))


def limits_comparison_verdict(found: Mapping[str, Any]) -> RenderableType:
    """What the terminal shows of a comparison of limits."""
    from transferkit.report import limits_comparison

    return limits_comparison.limits_comparison_verdict(found)


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
