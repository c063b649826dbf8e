"""The command that makes a failed step of a training again. torch is imported inside it only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferkit.cli.options import Device, Json
from transferkit.cli.terminal import print_json, working

if TYPE_CHECKING:
    from rich.table import Table

    from transferkit.studies.lab.replay import Pass


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(replay)


def replay(
    run: Annotated[Path, typer.Argument(help="The folder of a run that stopped at a loss that is not finite.")],
    json: Json = False,
    device: Device = "auto",
) -> None:
    """Make the step again at which a training stopped, and show where it failed."""
    with working() as console:
        from transferkit.studies.lab.replay import in_words
        from transferkit.studies.lab.replay import replay as made_again

        made = made_again(run, device)
    if json:
        print_json(made)
        return
    console.result(*in_words(made))
    console.result(_table(made.passes))


def _table(passes: tuple[Pass, ...]) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("stage")
    for title in (*(f"largest output, {replayed.precision}" for replayed in passes), "largest weight"):
        table.add_column(title, justify="right")
    for stage, (_, weight) in passes[0].stages.items():
        table.add_row(stage, *(f"{replayed.stages[stage][0]:.3g}" for replayed in passes), f"{weight:.3g}")
    return table
