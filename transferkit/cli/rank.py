"""The command that ranks backbones. torch is imported inside it only."""

from __future__ import annotations

import json as json_format
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from transferkit.cli.options import with_options
from transferkit.errors import MachineError
from transferkit.recipe import FolderData, Ranking, Study, dump, ranking_from_options


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(rank)


@with_options(Ranking, FolderData)
def rank(
    backbones: Annotated[
        list[str], typer.Argument(help="Each NAME or NAME=WEIGHTS: resnet18, resnet18=none, resnet18=my.safetensors.")
    ],
    data: Annotated[
        str, typer.Option(help="A data set's name, or folder:PATH with your own images.", rich_help_panel="Data")
    ] = "cifar10",
    weights: Annotated[
        list[str] | None,
        typer.Option(help="imagenet, none, a file or a run's folder, for all; or NAME=WEIGHTS. (default: imagenet)"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder. (default: runs/rank-<data>-<hash>)")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the ranking that is in the folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the ranking as a recipe, and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    **options: Any,
) -> None:
    """Choose a backbone: compare several by a linear probe on your training images."""
    ranking = ranking_from_options(backbones, data, weights or (), options)
    run_ranking(ranking, out, overwrite, dry_run, json)


def print_recipe(recipe: Ranking | Study, as_json: bool) -> None:
    """Print what would be run, for --dry-run."""
    if as_json:
        print(json_format.dumps({"recipe": recipe.model_dump(mode="json")}, indent=1, ensure_ascii=False))
    else:
        print(dump(recipe), end="")


def run_ranking(ranking: Ranking, out: Path | None, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """Carry out a ranking and show its table."""
    from transferkit.backbones import source
    from transferkit.screen import Screen

    if dry_run:
        print_recipe(ranking, as_json)
        return
    for backbone in ranking.backbones:
        source(backbone.name)  # an unknown one is told before torch is loaded
    screen = Screen()
    screen.line("Starting (loading torch takes a few seconds) ...")
    from transferkit import report
    from transferkit.studies import ranking as rankings

    command = shlex.join(["transferkit", *sys.argv[1:]])
    try:
        result = rankings.rank(ranking, out, overwrite=overwrite, screen=screen, command=command)
    except KeyboardInterrupt:
        raise MachineError("Stopped. Finished backbones are kept; the same command goes on from there.") from None
    screen.show(report.ranking_verdict(result))
    if as_json:
        print(json_format.dumps(result, indent=1, ensure_ascii=False))
