"""The command that says which images to label next. torch is imported inside it only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.options import Device, FinishedRun, Json, OverwriteFile
from transferkit.cli.terminal import print_json, working
from transferkit.recipe.settings import MOST_IMAGES


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command("next")(next_)


def next_(
    run: FinishedRun,
    field: Annotated[
        list[str],
        typer.Option(help="Unlabelled images: a folder, quoted glob, CSV or - for a list. May be repeated."),
    ],
    n: Annotated[int, typer.Option("--n", "-n", help="How many to choose.", min=1, max=MOST_IMAGES)] = 50,
    out: Annotated[Path, typer.Option(help="The list; a page of thumbnails is written beside it.")] = Path("next.csv"),
    overwrite: OverwriteFile = False,
    json: Json = False,
    device: Device = "auto",
) -> None:
    """Choose the unlabelled images whose labels are likely to help a run most."""
    with working() as console:
        from transferkit.runs.run_directory import open_run
        from transferkit.studies.next_images.next_images import NextFiles, next_images

        files = NextFiles(out, overwrite)
        chosen = next_images(open_run(run), field, n, console, files=files, device=device)
    if json:
        print_json(chosen)
    console.result(*chosen.lines(), f"List: {files.csv}", f"Page: {files.page}")
