"""The commands that make a run: one per method, and `run`. torch is imported inside commands only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit import recipe as recipes
from transferkit.cli import compare, completion, rank, tune
from transferkit.cli.options import RUN, Backbone, Data, GoOn, Json, Out, Overrides, Overwrite, method_options
from transferkit.cli.terminal import command_line, print_dry_run, print_json, require_complete, working
from transferkit.recipe import book
from transferkit.runtime.json_files import JsonObject

if TYPE_CHECKING:
    from transferkit.runs.run_directory import Run
    from transferkit.studies.compare.results import Comparison, LabelCurve

Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue an unfinished run in the folder.", rich_help_panel=RUN),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the recipe, estimate time and memory, and stop.", rich_help_panel=RUN)
]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(quickstart)
    for name, settings in recipes.METHOD_MODELS.items():
        app.command(name, help=settings.about)(method_command(name, settings))
    app.command("run")(run_command)


def method_command(method: str, settings: type[recipes.RecipePart]) -> Callable[..., None]:
    """The command that runs one method, with an option for each of its settings."""

    @method_options(settings)
    def command(
        backbone: Backbone,
        overrides: Overrides = None,
        data: Data = "cifar10",
        out: Out = None,
        overwrite: Overwrite = False,
        resume: Resume = False,
        dry_run: DryRun = False,
        json: Json = False,
        **options: Any,
    ) -> None:
        recipe = recipes.from_options(method, backbone, data, options, overrides or [])
        run_recipe(recipe, out, overwrite, resume, dry_run, json)

    return command


def run_command(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe's name, or a YAML file.", autocompletion=completion.recipes)
    ],
    overrides: Overrides = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Run a recipe, a study of several, a ranking, or a tuning."""
    loaded = recipes.load(book.find(recipe), overrides or [])
    if isinstance(loaded, recipes.Study):
        compare.run_whole_study(loaded, out, overwrite, dry_run, json)
    elif isinstance(loaded, recipes.RankingRecipe):
        rank.run_ranking(loaded, out, overwrite, dry_run, json)
    elif isinstance(loaded, recipes.TuningRecipe):
        tune.run_tuning(loaded, out, overwrite, dry_run, json)
    else:
        named = loaded if loaded.name else loaded.model_copy(update={"name": book.find(recipe).stem})
        run_recipe(named, out, overwrite, resume, dry_run, json)


def quickstart(
    overrides: Overrides = None,
    out: Out = None,
    overwrite: Overwrite = False,
    _: GoOn = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """See a transfer study on built-in images: no download, under two minutes."""
    study = recipes.load(book.find("quickstart"), overrides or [])
    assert isinstance(study, recipes.Study)
    comparison = compare.run_study(study, out, overwrite, dry_run, json)
    if comparison is not None:
        tell_story(comparison)
        require_complete(comparison.failures, "runs")


def tell_story(comparison: Comparison | LabelCurve) -> None:
    """Write a comparison's story, and say where it is."""
    with working("Stopped. The comparison is finished; `transferkit quickstart --overwrite` begins again.") as console:
        from transferkit.models.weights.known_packages import installed_backbone
        from transferkit.studies import story
        from transferkit.studies.compare.results import Comparison

        if not isinstance(comparison, Comparison):  # numbers of labels were asked for
            return
        page = story.tell(comparison, console, command_line())
    console.result(f"The whole story, to be projected: {page}")
    backbone = installed_backbone() or "resnet18"  # whose weights are downloaded
    console.result(f"Next, your own photos: transferkit finetune {backbone} --data folder:my-photos")


def run_recipe(
    recipe: recipes.Recipe, out: Path | None, overwrite: bool, resume: bool, dry_run: bool, as_json: bool
) -> None:
    """Carry out a recipe, or say what it would cost, and show its verdict."""
    if dry_run:
        print_estimate(recipe, as_json)
        return
    from transferkit.models.backbones import card

    card(recipe.backbone.name)  # an unknown one is told before torch is loaded
    if recipe.data.folds and recipe.data.fold is None:
        run_folds(recipe, out, overwrite, as_json)
        return
    with working(lambda: resume_advice(out or recipe.default_folder)) as console:
        from transferkit import report
        from transferkit import run as story

        run = story.run_alone(recipe, out, overwrite=overwrite, resume=resume, console=console, command=command_line())
    console.result(report.verdict(run))
    if as_json:
        print_json(summary(run))


def run_folds(recipe: recipes.Recipe, out: Path | None, overwrite: bool, as_json: bool) -> None:
    """Carry out a recipe once per fold, and show one verdict over all labelled images."""
    with working("Stopped. Finished folds are kept; the same command goes on with the others.") as console:
        from transferkit.studies.folds.cross_validation import cross_validate

        result = cross_validate(recipe, out, overwrite=overwrite, console=console, command=command_line())
    console.result(*result.lines())
    console.result(f"Report: {result.folder}/report.html")
    if as_json:
        print_json(result)


def print_estimate(recipe: recipes.Recipe, as_json: bool) -> None:
    """The recipe, its data and what it would cost, for --dry-run."""

    def look() -> tuple[list[str], str]:
        from transferkit.training import augmented_sheet, estimates

        estimates.require_weights(recipe)
        folds = recipe.data.folds if recipe.data.fold is None else None
        times = f" {folds} times, once per fold." if folds else ""
        return [
            *estimates.inputs_in_words([recipe]),
            *augmented_sheet.draw_before(recipe),
        ], f"{estimates.estimate(recipe)}{times}"

    print_dry_run(recipe, look, as_json)


def resume_advice(folder: Path) -> str:
    """What a stopped run has left, and how to go on from there."""
    if (folder / "checkpoint.safetensors").exists():
        return (
            f"Stopped. The last complete epoch and the log are kept in {folder}; continue with the same command and "
            "--resume."
        )
    if (folder / "evaluation.json").exists():
        return f"Stopped. {folder} holds a finished run; `transferkit report {folder}` builds its page again."
    if (folder / "recipe.yaml").exists():
        return "Stopped before the first epoch was complete; go on with the same command and --resume."
    return "Stopped before anything was written; the same command starts again."


def summary(run: Run) -> JsonObject:
    """What --json prints of a finished run, the verdict in one sentence first."""
    from transferkit import report
    from transferkit.runtime.records import as_json

    evaluation = as_json(run.evaluation)
    seconds = round(run.facts.total_seconds, 3)
    keys = ("accuracy", "interval", "n", "macro_recall", "commonest")
    others = {key: evaluation[key] for key in ("neighbours", "layers") if evaluation[key] is not None}
    return {
        "verdict": report.first_sentence(run),
        "run": str(run.path),
        "test": {key: evaluation["test"][key] for key in keys},
        **others,
        "since_start": evaluation["since_start"],
        "findings": [as_json(finding) for finding in report.findings(run)],
        "next": [as_json(step) for step in report.next_steps(run)],
        "seconds": seconds,
    }
