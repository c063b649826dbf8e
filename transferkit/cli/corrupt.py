"""The command that shows what a corruption does to your own pictures. torch is imported inside commands only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.terminal import working
from transferkit.recipe.settings import LARGEST_PX, SEEDS
from transferkit.runtime.plurals import counted

WHEN_STOPPED = "Stopped. The copies made so far are kept; the same command makes all of them anew."


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(corrupt)


def corrupt(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    out: Annotated[Path, typer.Option(help="Folder for the copies.", show_default=False)],
    name: Annotated[
        list[str] | None, typer.Option(help="A corruption, such as fog; may be repeated. (default: all)")
    ] = None,
    severity: Annotated[
        list[int] | None, typer.Option(help="1 to 5; may be repeated. (default: all five)", min=1, max=5)
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Squash to a square of this side in px first, as a run does. (default: as it is)",
            min=8,
            max=LARGEST_PX,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other noise.", min=0, max=SEEDS - 1)] = 0,
) -> None:
    """Write corrupted copies of your pictures as PNG, to look at."""
    with working(WHEN_STOPPED) as console:
        from transferkit.data.corruptions import CORRUPTIONS, SEVERITIES
        from transferkit.data.corruptions.files import write_copies

        written = write_copies(images, name or tuple(CORRUPTIONS), severity or SEVERITIES, out, size, seed)
    console.result(f"Wrote {counted(len(written), 'PNG file')} to {out}.")
