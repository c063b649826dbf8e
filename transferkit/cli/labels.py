"""The command that checks labels. torch is imported inside it only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferkit.cli.options import Device, FinishedRun, Json
from transferkit.cli.terminal import print_json, working
from transferkit.recipe.settings import MOST_IMAGES

if TYPE_CHECKING:
    from transferkit.runs.label_check import CheckedPart, LabelCheck

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
        from transferkit.studies.labels.label_quality import check_labels, require

        require()
        check = check_labels(open_run(run), console, device=device, limit=limit)
        report.write(open_run(run))
    if json:
        print_json(check)
    for line in in_words(check, run):
        console.line(line)


def _found(name: str, part: CheckedPart) -> str:
    expected = f"; {part.expected_in_words}" if part.expected_in_words else ""
    return f"{len(part.issues):,} {part.kind} in {part.n:,} {name} images{expected}."


def in_words(check: LabelCheck, run: Path) -> list[str]:
    """What was found, in a few lines."""
    lines = [_found(name, part) for name, part in check.parts.items()]
    differing = sum(not pair.is_labelled_alike for pair in check.duplicates)
    other = f", {differing:,} of them with another label there" if differing else ""
    lines.append(f"{len(check.duplicates):,} test images are also in train{other}.")
    for row in check.accuracy:
        if row.accuracy is not None:
            low, high = row.interval
            interval = f"{100 * low:.1f} to {100 * high:.1f}"
            lines.append(f"  {100 * row.accuracy:5.1f} % ({interval}), n = {row.n:,}: {row.of}")
    return [*lines, f"Look at them in {run / 'report.html'}; all are listed in {run / 'labels.csv'}."]
