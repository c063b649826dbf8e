"""The command that writes a run's model card, and puts it on a hub. torch is imported inside it only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.options import FinishedRun, Json
from transferkit.cli.terminal import print_json, working


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(card)


def card(
    run: FinishedRun,
    out: Annotated[Path | None, typer.Option(help="The folder. (default: RUN/card)", show_default=False)] = None,
    push: Annotated[
        str, typer.Option(metavar="USER/NAME", help="Put it into this repository of the Hugging Face hub.")
    ] = "",
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public; it is private otherwise.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier card in the folder.")] = False,
    json: Json = False,
) -> None:
    """Write a run's model card, with weights that torchvision or timm load themselves."""
    with working() as console:
        from transferkit.deploy import hub_repository

        if push:
            hub_repository.require_writable(push)
        folder = hub_repository.write_repository(run, out, repository=push, overwrite=overwrite)
        console.result(f"Wrote {folder / hub_repository.README}, {hub_repository.WEIGHTS} and {hub_repository.CONFIG}.")
        address = hub_repository.push(folder, push, public=public, console=console) if push else ""
    if json:
        print_json({"folder": str(folder), "address": address})
    elif address:
        console.result(f"Look at {address}. Others start from it with --weights hf:{push}")
