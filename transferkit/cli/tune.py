"""The command that chooses settings of fine-tuning on val. torch is imported inside it only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from transferkit.cli.options import (
    RUN,
    Backbone,
    Data,
    GoOn,
    Json,
    OfExecutor,
    OfWorkers,
    Out,
    Overrides,
    Overwrite,
    method_options,
)
from transferkit.cli.terminal import command_line, print_dry_run, print_json, working
from transferkit.recipe import METHOD_MODELS, TuningRecipe, tuning_from_options
from transferkit.recipe.settings import MOST_RUNS

WHEN_STOPPED = "Stopped. Finished trials are kept; the same command goes on from there."

Try = Annotated[
    list[str] | None,
    typer.Option("--try", help="KEY=VALUE/VALUE of the method, repeated; `default` leaves a key alone."),
]
Points = Annotated[
    int | None, typer.Option(min=1, max=MOST_RUNS, help="Try so many settings at random. (default: all)")
]
Search = Annotated[Literal["grid", "optuna"], typer.Option(help="Who proposes settings; optuna is an extra.")]
Eta = Annotated[
    int,
    typer.Option(min=2, max=10, help="How many times longer those settings are trained that go on, two in its square."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the recipe, estimate the search, and stop.", rich_help_panel=RUN)
]


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(tune)


@method_options(METHOD_MODELS["finetune"])
def tune(
    backbone: Backbone,
    overrides: Overrides = None,
    data: Data = "cifar10",
    try_: Try = None,
    points: Points = None,
    search: Search = "grid",
    eta: Eta = 3,
    executor: OfExecutor = None,
    workers: OfWorkers = None,
    out: Out = None,
    overwrite: Overwrite = False,
    _: GoOn = False,
    dry_run: DryRun = False,
    json: Json = False,
    **options: Any,
) -> None:
    """Choose rate, size, freezing and augmentation on val by successive halving, then train the best."""
    own = {"points": points, "search": search, "eta": eta, "executor": executor, "workers": workers}
    tuning = tuning_from_options(backbone, data, try_ or (), own, options, overrides or ())
    run_tuning(tuning, out, overwrite, dry_run, json)


def run_tuning(tuning: TuningRecipe, out: Path | None, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """Carry out a tuning and show its table."""
    from transferkit.models.backbones import card

    if dry_run:
        print_tuning(tuning, as_json)
        return
    card(tuning.base.backbone.name)  # an unknown one is told before torch is loaded
    with working(WHEN_STOPPED) as console:
        from transferkit.studies.tune import tune as tunings
        from transferkit.studies.tune.report import tuning_verdict

        result = tunings.tune(tuning, out, overwrite=overwrite, console=console, command=command_line())
    console.result(tuning_verdict(result))
    if as_json:
        print_json(result)


def print_tuning(tuning: TuningRecipe, as_json: bool) -> None:
    """The tuning, its data, and what one training at full length and the whole search would take, for --dry-run."""

    def look() -> tuple[list[str], dict[str, str]]:
        from transferkit import executors
        from transferkit.studies.tune.costs import of_tuning
        from transferkit.training import estimates

        executors.require(tuning.executor)
        estimates.require_weights(tuning.base)
        return estimates.inputs_in_words([tuning.base]), of_tuning(tuning)

    print_dry_run(tuning, look, as_json)
