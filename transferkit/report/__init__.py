"""The page of one run, and the kit for all pages: SVG, figures, tables, TensorBoard."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.runs import run_directory
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from transferkit.runs.checks.finding import Finding
    from transferkit.runs.checks.next_steps import NextStep


def write(run: Run) -> None:
    """Make report.html, report.md and confusion.csv from the run's stored files alone.

    Raises:
        TransferkitError: If another process works in the run's folder.
    """
    with run_directory.hold_run(run):
        _write(run)


def _write(run: Run) -> None:
    from transferkit.report.content import gather
    from transferkit.report.markdown import confusion_csv, markdown
    from transferkit.report.page import page

    _map(run)
    content = gather(run, as_typed(run.path))
    write_text(run.path / "report.md", markdown(content))
    if content.scores:
        write_text(run.path / "confusion.csv", confusion_csv(content))
    write_text(run.path / "report.html", page(content))


def as_typed(folder: Path) -> str:
    """How commands name a folder from here: below the working directory its way there, elsewhere its bare name.

    A page may be given to others, so it holds no path from the root of the disk.
    """
    resolved, here = folder.resolve(), Path.cwd()
    return resolved.relative_to(here).as_posix() if here in resolved.parents else resolved.name


def _map(run: Run) -> None:
    """Lay out the map of the test features once; it takes a second or two, and the run keeps it."""
    from transferkit.metrics.evaluation import thumbnail_choice
    from transferkit.metrics.feature_map import feature_map

    if run.map_path.exists() or not run.outputs_path("test").exists():
        return
    with contextlib.suppress(TransferkitError):  # damaged outputs; the page says so where it needs them
        test = run.outputs("test")
        feature_map(test, thumbnail_choice(test)).save(run.map_path)


def verdict(run: Run) -> RenderableType:
    """What the terminal shows of a finished run, in at most 50 lines of 80 columns."""
    from transferkit.report import terminal
    from transferkit.report.content import gather

    return terminal.verdict(gather(run, str(run.path)), str(run.path / "report.html"))


def first_sentence(run: Run) -> str:
    """The verdict in one sentence: what went wrong, with what to try, or else the result."""
    from transferkit.report.content import gather
    from transferkit.report.headline import headline

    return headline(gather(run))


def result_sentence(run: Run) -> str:
    """The accuracy on test with its interval and n, for people who did not make the run."""
    from transferkit.report import headline
    from transferkit.report.content import gather

    return headline.result_sentence(gather(run))


def findings(run: Run) -> tuple[Finding, ...]:
    """What the numbered checks find in a run, the most serious first."""
    from transferkit.report.content import gather

    return gather(run, str(run.path)).findings


def next_steps(run: Run) -> tuple[NextStep, ...]:
    """What to do next, from the findings."""
    from transferkit.report.content import gather

    return gather(run, str(run.path)).next_steps


def summary(run: Run) -> str:
    """Headline, tiles, confusion matrix and a link to the page as HTML, for notebooks."""
    from transferkit.report.content import gather
    from transferkit.report.page import summary as page_summary

    return page_summary(gather(run), str(run.path / "report.html"))


def figure(run: Run, name: str, path: Path) -> None:
    """Draw one figure of a run for a paper, as .pdf, .svg or .png."""
    from transferkit.report.matplotlib_figures import figure as draw

    draw(run, name, path)
