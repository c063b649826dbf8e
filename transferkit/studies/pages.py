"""The menu of `transferkit report FOLDER`: what builds the pages of each kind of folder again, or draws a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.runs import result_folders
from transferkit.runs.result_folders import (
    COMPARISON,
    FOLDS,
    GRADIENT_FLOW,
    LIMITS,
    LIMITS_COMPARISON,
    RANKING,
    SITE,
    STUDY,
    TUNING,
    Kind,
)
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime import folders
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted, with_article
from transferkit.studies.unfinished import require_result

if TYPE_CHECKING:
    from rich.console import RenderableType

    from transferkit.report.table_files import PaperTable


def rebuild_pages(folder: Path) -> RenderableType:
    """Write a folder's pages again from its stored results alone.

    Returns:
        Its verdict, for the terminal.

    Raises:
        TransferkitError: If it is no folder of transferkit's or unfinished, its files are damaged, or another process
            works in it.
    """
    kind = _kind_of(folder)
    if kind is None:
        return REBUILD["run"](folder)
    with result_folders.hold_results(folder, kind):
        require_result(folder, kind)
        return REBUILD[kind.name](folder)


def require_results(folder: Path, table: str | None = None) -> str:
    """What a folder of results holds, before anything is asked of it: `run`, `study` ...

    Raises:
        TransferkitError: If it holds nothing of transferkit's, or has no such table.
    """
    kind = _kind_of(folder)
    name = kind.name if kind else "run"
    if kind is None:
        open_run(folder)
    if table is not None and table not in (tables := TABLES.get(name, {})):
        here = f"it has {', '.join(tables)}" if tables else "comparisons and label curves have arms, rankings backbones"
        raise TransferkitError(f"There is no table {table!r} in {folder}, which holds {with_article(name)}: {here}.")
    return name


def draw_figure(folder: Path, name: str, target: Path) -> None:
    """Draw one figure of a folder for a paper.

    Raises:
        TransferkitError: If such a folder has no figure of this name, or is unfinished.
    """
    held, kind = require_results(folder), _kind_of(folder)
    draw = DRAW.get(held)
    if draw is None:
        raise TransferkitError(
            f"There is no figure {name!r} here: figures are drawn of runs, comparisons, label curves, rankings and "
            f"limits reports, and {folder} holds {with_article(held)}."
        )
    if kind is not None:
        require_result(folder, kind)
    draw(folder, name, target)


def figure_names(folder: Path) -> tuple[str, ...]:
    """Names of the figures that can be drawn of a folder; none where it holds nothing.

    Raises:
        TransferkitError: If its files are damaged.
    """
    kind = _kind_of(folder)
    names = FIGURE_NAMES.get(kind.name if kind else "run")
    return tuple(names(folder)) if names else ()


def write_paper_table(folder: Path, name: str, target: Path) -> None:
    """Write one table of a folder for a paper, as .tex or .csv.

    Raises:
        TransferkitError: If such a folder has no table of this name, or is unfinished.
    """
    from transferkit.report.table_files import write_table

    held, kind = require_results(folder, name), _kind_of(folder)
    if kind is not None:
        require_result(folder, kind)
    write_table(TABLES[held][name](folder), target)


def page_of(folder: Path) -> Path:
    """The page to look at in a folder of results."""
    kind = _kind_of(folder)
    return folder / (kind.page if kind else "report.html")


def _kind_of(folder: Path) -> Kind | None:
    """What a folder of results holds, by its manifest, or else by the result in it; None of a run, or of nothing."""
    recorded = folders.kind_of(folder)
    return next(
        (kind for kind in KINDS if recorded == kind.name or (recorded is None and (folder / kind.result).exists())),
        None,
    )


def _rebuild_run(folder: Path) -> RenderableType:
    from transferkit import report

    run = open_run(folder)
    report.write(run)
    return report.verdict(run)


def _rebuild_comparison(folder: Path) -> RenderableType:
    from transferkit.studies.compare.report import comparison_verdict, write_pages

    return comparison_verdict(write_pages(folder))


def _rebuild_folds(folder: Path) -> RenderableType:
    from transferkit.studies.folds.cross_validation import write_folds_page

    return "\n".join(write_folds_page(folder).lines())


def _rebuild_ranking(folder: Path) -> RenderableType:
    from transferkit.studies.rank.report import ranking_verdict, write_pages
    from transferkit.studies.rank.results import Ranking

    write_pages(folder)
    return ranking_verdict(replace(Ranking.read(folder), folder=str(folder)))


def _rebuild_tuning(folder: Path) -> RenderableType:
    from transferkit.studies.tune.report import tuning_verdict, write_pages

    return tuning_verdict(replace(write_pages(folder), folder=str(folder)))


def _rebuild_limits(folder: Path) -> RenderableType:
    from transferkit.studies.limits.rendering import limits_verdict, write_limits
    from transferkit.studies.limits.report import LimitsReport

    write_limits(folder)
    return limits_verdict(replace(LimitsReport.read(folder), folder=str(folder)))


def _rebuild_limits_comparison(folder: Path) -> RenderableType:
    from transferkit.studies.limits.comparison_results import LimitsComparison
    from transferkit.studies.limits.rendering import limits_comparison_verdict, write_limits_comparison

    write_limits_comparison(folder)
    return limits_comparison_verdict(replace(LimitsComparison.read(folder), folder=str(folder)))


def _rebuild_gradient_flow(folder: Path) -> RenderableType:
    from transferkit.studies.lab.gradient_flow_results import read_gradient_flow
    from transferkit.studies.lab.report import gradient_flow_verdict, write_gradient_flow

    write_gradient_flow(folder)
    return gradient_flow_verdict(read_gradient_flow(folder))


def _names_of_run(_: Path) -> Iterable[str]:
    from transferkit.report.matplotlib_figures import FIGURES

    return FIGURES


def _names_of_comparison(_: Path) -> Iterable[str]:
    from transferkit.studies.compare.drawings import COST_FIGURES

    return COST_FIGURES


def _names_of_limits(folder: Path) -> Iterable[str]:
    from transferkit.studies.limits.figures import figures
    from transferkit.studies.limits.report import LimitsReport

    return (name for name, _ in figures(LimitsReport.read(folder)))


def _draw_of_run(folder: Path, name: str, target: Path) -> None:
    from transferkit import report

    report.figure(open_run(folder), name, target)


def _draw_of_comparison(folder: Path, name: str, target: Path) -> None:
    from transferkit.studies.compare.report import comparison_figure

    comparison_figure(Run(folder), name, target)


def _draw_of_ranking(folder: Path, name: str, target: Path) -> None:
    from transferkit.studies.rank.report import ranking_figure

    ranking_figure(folder, name, target)


def _draw_of_limits(folder: Path, name: str, target: Path) -> None:
    from transferkit.report.matplotlib_figures import drawn_to
    from transferkit.studies.limits.figures import figures
    from transferkit.studies.limits.report import LimitsReport

    drawings = dict(figures(LimitsReport.read(folder)))
    if name not in drawings:
        raise TransferkitError(f"There is no figure {name!r} here: this report has {', '.join(drawings)}.")
    drawn_to(target, drawings[name])


def _arms_table(folder: Path) -> PaperTable:
    from transferkit.studies.compare.report import arms_table

    return arms_table(folder)


def _backbones_table(folder: Path) -> PaperTable:
    from transferkit.studies.rank.report import backbones_table

    return backbones_table(folder)


def _rebuild_site(folder: Path) -> RenderableType:
    from transferkit.report.site import write_index

    return f"{counted(len(write_index(folder).runs), 'run')}: {folder / SITE.page}"


KINDS = (STUDY, COMPARISON, FOLDS, RANKING, TUNING, LIMITS, LIMITS_COMPARISON, GRADIENT_FLOW, SITE)
REBUILD: dict[str, Callable[[Path], RenderableType]] = {
    "run": _rebuild_run,
    STUDY.name: _rebuild_comparison,
    COMPARISON.name: _rebuild_comparison,
    FOLDS.name: _rebuild_folds,
    RANKING.name: _rebuild_ranking,
    TUNING.name: _rebuild_tuning,
    LIMITS.name: _rebuild_limits,
    LIMITS_COMPARISON.name: _rebuild_limits_comparison,
    GRADIENT_FLOW.name: _rebuild_gradient_flow,
    SITE.name: _rebuild_site,
}
DRAW: dict[str, Callable[[Path, str, Path], None]] = {
    "run": _draw_of_run,
    STUDY.name: _draw_of_comparison,
    COMPARISON.name: _draw_of_comparison,
    RANKING.name: _draw_of_ranking,
    LIMITS.name: _draw_of_limits,
}
TABLES: dict[str, dict[str, Callable[[Path], PaperTable]]] = {
    STUDY.name: {"arms": _arms_table},
    COMPARISON.name: {"arms": _arms_table},
    RANKING.name: {"backbones": _backbones_table},
}
FIGURE_NAMES: dict[str, Callable[[Path], Iterable[str]]] = {
    "run": _names_of_run,
    STUDY.name: _names_of_comparison,
    COMPARISON.name: _names_of_comparison,
    RANKING.name: lambda _: ("cost",),
    LIMITS.name: _names_of_limits,
}
