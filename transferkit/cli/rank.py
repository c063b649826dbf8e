"""The command that ranks backbones. torch is imported inside it only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from transferkit.cli.options import Data, DryRun, GoOn, Json, Out, Overwrite, WeightsOfEach, with_options
from transferkit.cli.terminal import command_line, print_dry_run, print_json, require_complete, working
from transferkit.recipe import FolderData, RankingRecipe, ranking_from_options

WHEN_STOPPED = "Stopped. Finished backbones are kept; the same command goes on from there."


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(rank)


@with_options(RankingRecipe, FolderData)
def rank(
    backbones: Annotated[
        list[str], typer.Argument(help="Each NAME or NAME=WEIGHTS: resnet18, resnet18=none, resnet18=my.safetensors.")
    ],
    data: Data = "cifar10",
    weights: WeightsOfEach = None,
    out: Out = None,
    overwrite: Overwrite = False,
    _: GoOn = False,
    dry_run: DryRun = False,
    json: Json = False,
    **options: Any,
) -> None:
    """Choose a backbone: compare several by a linear probe on your training images."""
    ranking = ranking_from_options(backbones, data, weights or (), options)
    run_ranking(ranking, out, overwrite, dry_run, json)


def run_ranking(ranking: RankingRecipe, out: Path | None, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """Carry out a ranking and show its table."""
    from transferkit.models.backbones import card

    if dry_run:
        print_ranking(ranking, as_json)
        return
    for backbone in ranking.backbones:
        card(backbone.name)  # an unknown one is told before torch is loaded
    with working(WHEN_STOPPED) as console:
        from transferkit.studies.rank import ranking as rankings
        from transferkit.studies.rank.report import ranking_verdict

        result = rankings.rank(ranking, out, overwrite=overwrite, console=console, command=command_line())
    console.result(ranking_verdict(result))
    if as_json:
        print_json(result)
    require_complete(result.failures, "backbones")


def print_ranking(ranking: RankingRecipe, as_json: bool) -> None:
    """The ranking, its data and what each backbone would cost, for --dry-run."""

    def look() -> tuple[list[str], Mapping[str, str]]:
        from transferkit.studies.rank.ranking import require_backbones
        from transferkit.training import estimates

        require_backbones(ranking)
        return estimates.inputs_in_words(ranking.recipes().values()), estimates.of_ranking(ranking)

    print_dry_run(ranking, look, as_json)
