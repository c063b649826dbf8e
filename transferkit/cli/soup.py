"""The command that averages the weights of several runs. torch is imported inside it only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.options import Json, Out, Overwrite, named_run
from transferkit.cli.runs import summary
from transferkit.cli.terminal import command_line, print_json, working


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(soup)


def soup(
    runs: Annotated[
        list[Path],
        typer.Argument(
            parser=named_run, metavar="RUN...", help="Folders of runs of one recipe with several seeds, or a study's."
        ),
    ],
    greedy: Annotated[bool, typer.Option("--greedy", help="Let val decide which runs take part.")] = False,
    out: Out = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Average the weights of several seeds into one network, a run of its own."""
    with working("Stopped. The runs are as they were; the same command with --overwrite starts again.") as console:
        from transferkit import report
        from transferkit.studies.soup.soup import cook

        made = cook(runs, out, greedy=greedy, overwrite=overwrite, console=console, command=command_line())
    console.result(report.verdict(made))
    if json:
        print_json(summary(made))
