"""The command line: arguments become a recipe, and the recipe is run. torch is imported inside commands only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit import recipe as recipes
from transferkit import recipe_book
from transferkit.cli import compare as cli_compare
from transferkit.cli import corrupt as cli_corrupt
from transferkit.cli import export as cli_export
from transferkit.cli import features as cli_features
from transferkit.cli import lab as cli_lab
from transferkit.cli import labels as cli_labels
from transferkit.cli import limits as cli_limits
from transferkit.cli import rank as cli_rank
from transferkit.cli.options import method_options
from transferkit.errors import MachineError, TransferkitError

if TYPE_CHECKING:
    from transferkit.run_directory import Run

app = typer.Typer(
    help="Transfer learning with evidence: fine-tune, probe and compare image classifiers, and see their limits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Any command takes --debug, which shows the traceback of an error.",
)
recipe_app = typer.Typer(help="List, show, copy and check recipes.", no_args_is_help=True)
app.add_typer(recipe_app, name="recipes")
cli_features.register(app)
cli_labels.register(app)
cli_rank.register(app)
cli_compare.register(app)
cli_corrupt.register(app)
cli_export.register(app)
cli_limits.register(app)
cli_lab.register(app)

BACKBONE_COLUMNS = ("name", "family", "parameters", "top1", "source")
LAYER_COLUMNS = ("name", "kind", "shape", "receptive_field", "stride", "parameters", "flops")
DATASET_COLUMNS = ("name", "classes", "images", "size", "offline", "terms")

Backbone = Annotated[str, typer.Argument(help="resnet18, vgg16_bn, alexnet, ..., or timm/<name>.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key.path=value, any key of the recipe.", show_default=False)
]
Data = Annotated[
    str, typer.Option(help="A data set's name, or folder:PATH with your own images.", rich_help_panel="Data")
]
Out = Annotated[Path | None, typer.Option(help="The run's folder. (default: runs/<recipe>-<hash>)", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run that is in the folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the unfinished run in the folder.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the recipe, estimate time and memory, and stop.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@app.command()
@method_options(recipes.FinetuneSettings)
def finetune(
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
    """Train a pretrained backbone further on your images."""
    recipe = recipes.from_options("finetune", backbone, data, options, overrides or [])
    _run_recipe(recipe, out, overwrite, resume, dry_run, json)


@app.command()
@method_options(recipes.ProbeSettings)
def probe(
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
    """Fit a linear classifier on the features of a frozen backbone."""
    recipe = recipes.from_options("probe", backbone, data, options, overrides or [])
    _run_recipe(recipe, out, overwrite, resume, dry_run, json)


@app.command()
@method_options(recipes.ScratchSettings)
def scratch(
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
    """Train the same network from random weights, for comparison."""
    recipe = recipes.from_options("scratch", backbone, data, options, overrides or [])
    _run_recipe(recipe, out, overwrite, resume, dry_run, json)


@app.command("run")
def run_command(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a YAML file.")],
    overrides: Overrides = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Run a recipe, a study of several, or a ranking."""
    loaded = recipes.load(recipe_book.find(recipe), overrides or [])
    if isinstance(loaded, recipes.Study):
        cli_compare.run_study(loaded, out, overwrite, dry_run, json)
    elif isinstance(loaded, recipes.Ranking):
        cli_rank.run_ranking(loaded, out, overwrite, dry_run, json)
    else:
        named = loaded if loaded.name else loaded.model_copy(update={"name": recipe_book.find(recipe).stem})
        _run_recipe(named, out, overwrite, resume, dry_run, json)


@app.command()
def quickstart(
    overrides: Overrides = None,
    out: Out = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """See a transfer study on built-in images: no download, under two minutes."""
    run_command("quickstart", overrides, out, overwrite, False, dry_run, json)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run, a comparison or a label curve.")],
    figure: Annotated[str | None, typer.Option(help="Draw one figure instead: confusion, recall, curve ...")] = None,
    out: Annotated[Path | None, typer.Option(help="The figure's file: .pdf, .svg or .png.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Build a run's page again from its stored outputs, or draw a figure for a paper."""
    from transferkit import report as reports
    from transferkit.run_directory import Run, open_run
    from transferkit.screen import Screen

    is_comparison = (run / "comparison.json").exists()
    if figure is None and is_comparison:
        Screen().show(reports.comparison_verdict(reports.write_comparison(run)))
        return
    place = Run(run) if is_comparison else open_run(run)
    if figure is None:
        reports.write(place)
        Screen().show(reports.verdict(place))
        return
    target = out or Path(f"{figure}.pdf")
    if target.exists() and not overwrite:
        raise TransferkitError(f"{target} exists. Choose another file with --out, or replace it with --overwrite.")
    draw = reports.comparison_figure if is_comparison else reports.figure
    draw(place, figure, target)
    print(target)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    acceptance: Annotated[
        float, typer.Option(help="Share of familiar images that are not to be called unknown.", min=0.5, max=1.0)
    ] = 0.95,
    json: Json = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
) -> None:
    """Name what is in your pictures, or say `unknown`, with the model of a run."""
    from transferkit.prediction import in_words, load, no_threshold

    model = load(run, device)
    predictions = model.predict(images, acceptance=acceptance)
    if words := no_threshold(model):
        print(words, file=sys.stderr)
    if json:
        rows = [{"image": str(path), **vars(found)} for path, found in zip(images, predictions, strict=True)]
        _print_json(rows)
        return
    for path, found in zip(images, predictions, strict=True):
        print(f"{path}\t{in_words(found)}")


@app.command()
def backbones(
    pattern: Annotated[str, typer.Argument(help="Part of a name; `timm/resnet` searches timm.")] = "",
    json: Json = False,
) -> None:
    """List the backbones."""
    from transferkit import backbones as menu
    from transferkit.cli.listings import listing
    from transferkit.screen import Screen

    cards = menu.names(pattern)
    if not cards:
        raise TransferkitError(f"No backbone matches {pattern!r}. `transferkit backbones` lists all of them.")
    _list(
        [vars(card) for card in cards], lambda: Screen(stream=sys.stdout).show(listing(cards, BACKBONE_COLUMNS)), json
    )


@app.command()
def layers(
    backbone: Backbone,
    overrides: Overrides = None,
    size: Annotated[int, typer.Option(help="Input side in px.")] = 224,
    json: Json = False,
) -> None:
    """List a backbone's layers: output shape, receptive field, stride, parameters, FLOPs."""
    from transferkit import backbones as menu
    from transferkit.cli.listings import listing
    from transferkit.receptive_fields import layers as layers_of
    from transferkit.screen import Screen

    options = {"weights": "none", "stem": "imagenet"}
    settings = recipes.from_options("probe", backbone, "digits", options, overrides or []).backbone
    facts = layers_of(menu.load(settings, ["one", "two"], size, Screen()), size)
    _list([vars(fact) for fact in facts], lambda: Screen(stream=sys.stdout).show(listing(facts, LAYER_COLUMNS)), json)


@app.command()
def datasets(json: Json = False) -> None:
    """List the data sets."""
    from transferkit import datasets as menu
    from transferkit.cli.listings import listing
    from transferkit.screen import Screen

    cards = menu.cards()
    _list([vars(card) for card in cards], lambda: Screen(stream=sys.stdout).show(listing(cards, DATASET_COLUMNS)), json)


@app.command()
def doctor(json: Json = False) -> None:
    """Check this machine: Python, torch, device, threads, caches, and what is downloaded."""
    from transferkit.cli.doctor import examine, show
    from transferkit.screen import Screen

    findings = examine()
    _list([vars(finding) for finding in findings], lambda: show(findings, Screen(stream=sys.stdout)), json)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


@recipe_app.command("list")
def list_recipes() -> None:
    """List the shipped recipes."""
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    for name in recipe_book.names():
        about = f"{name:18} {recipe_book.about(recipe_book.find(name))}"
        print(textwrap.fill(about, width, subsequent_indent=" " * 19))


@recipe_app.command("show")
def show_recipe(name: str) -> None:
    """Print a recipe."""
    print(recipe_book.find(name).read_text(encoding="utf-8"), end="")


@recipe_app.command("copy")
def copy_recipe(name: str, file: Path) -> None:
    """Copy a recipe to a file of your own."""
    print(f"Wrote {recipe_book.copy(name, file)}. Run it with: transferkit run {file}", file=sys.stderr)


@recipe_app.command("validate")
def validate_recipe(files: list[str]) -> None:
    """Check recipes without running them."""
    for name in files:
        recipes.load(recipe_book.find(name))
        print(f"{name}: valid")


@recipe_app.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of recipe files, for editors."""
    _print_json(recipes.schema())


def _run_recipe(
    recipe: recipes.Recipe, out: Path | None, overwrite: bool, resume: bool, dry_run: bool, as_json: bool
) -> None:
    from transferkit.screen import Screen

    screen = Screen()
    if dry_run:
        from transferkit.cli.estimate import estimate

        if as_json:
            _print_json({"recipe": recipe.model_dump(mode="json"), "estimate": estimate(recipe)})
            return
        print(recipes.dump(recipe), end="")
        screen.line(estimate(recipe))
        return
    from transferkit.backbones import source

    source(recipe.backbone.name)  # an unknown one is told before torch is loaded
    screen.line("Starting (loading torch takes a few seconds) ...")
    with _interruptible(lambda: _kept(out or recipe.default_folder)):
        from transferkit import report as reports
        from transferkit.run import run

        place = run(recipe, out, overwrite=overwrite, resume=resume, screen=screen, command=_command())
    screen.show(reports.verdict(place))
    if as_json:
        _print_json(_summary(place))


@contextmanager
def _interruptible(kept: Callable[[], str]) -> Iterator[None]:
    """Ctrl-C ends a run with a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise MachineError(kept()) from None


def _kept(folder: Path) -> str:
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


def _summary(place: Run) -> dict[str, Any]:
    test = place.evaluation["test"]
    seconds = round(sum(place.facts["seconds"].values()), 3)
    keys = ("accuracy", "interval", "n", "macro_recall")
    beside: dict[str, Any] = {key: place.evaluation[key] for key in ("neighbours", "layers") if key in place.evaluation}
    return {"run": str(place.path), "test": {key: test[key] for key in keys}, **beside, "seconds": seconds}


def _list(rows: list[dict[str, Any]], show: Any, as_json: bool) -> None:
    if as_json:
        _print_json(rows)
    else:
        show()


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def _command() -> str:
    import shlex

    return shlex.join(["transferkit", *sys.argv[1:]])


def main() -> None:
    """The console script: errors become one message and an exit code, 2 for the user's mistake, 1 for ours."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except TransferkitError as error:
        if debug:
            raise
        sys.exit(_failed(str(error), error.exit_code))
    except OSError as error:
        if debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        advice = "Choose another place, or make it readable and writable."
        sys.exit(_failed(f"{place}{error.strerror or error}. {advice}", 1))
    except Exception as error:
        if debug:
            raise
        hint = "Run the command again with --debug to see where, and please report it."
        sys.exit(_failed(f"A fault of transferkit: {type(error).__name__}: {error}. {hint}", 1))


def _failed(message: str, exit_code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return exit_code
