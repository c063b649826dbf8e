"""A cross-validation as one HTML file that loads nothing."""

from __future__ import annotations

from pathlib import Path

from transferkit.report.number_words import percent, sample_size
from transferkit.report.page import rendered
from transferkit.studies.folds.cross_validation import CrossValidation

FOLDER = Path(__file__).parent


def folds_page(result: CrossValidation) -> str:
    """The page: the verdict, every fold with its interval and the page of its run, what the numbers do not know."""
    return rendered(
        FOLDER / "folds.html.jinja",
        result=result,
        command=result.command,
        verdict=result.lines()[0],
        interval_words=result.lines()[1],
        notes=result.lines()[2:],
        sample_size=sample_size(result.n, result.groups, " labelled images"),
        headline=percent(result.accuracy),
    )
