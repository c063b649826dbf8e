"""The command that checks labels. torch is imported inside it only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferkit.cli.options import Device, FinishedRun, Json
from transferkit.cli.terminal import print_json, working
from transferkit.recipe.settings import MOST_IMAGES

if TYPE_CHECKING:
    from transferkit.runs.label_check import LabelCheck

WHEN_STOPPED = "Stopped. The run is as it was; the same command starts again."


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(labels)


def labels(
    run: FinishedRun,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Look at no more than this many training images.", min=10, max=MOST_IMAGES, show_default=False
        ),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Find likely label errors, and test images that are also in train."""
    with working(WHEN_STOPPED) as console:
        from transferkit import report
        from transferkit.runs.run_directory import open_run
        from transferkit.studies.labels.label_quality import check_labels, require_cleanlab

        require_cleanlab()
        check = check_labels(open_run(run), console, device=device, limit=limit)
        report.write(open_run(run))
    if json:
        print_json(check)
    console.result(*in_words(check, run))


def in_words(check: LabelCheck, run: Path) -> list[str]:
    """What was found, in a few lines, and the first images by name."""
    page, issues = run / "report.html", len(check.train.issues) + len(check.test.issues)
    if not issues:
        return [*check.sentences, f"The page {page} says how labels were checked."]
    look, listed = ("Look at it", "it is") if issues == 1 else ("Look at them", "all are")
    return [*check.sentences, *check.first_issues, f"{look} in {page}; {listed} listed in {run / 'labels.csv'}."]
