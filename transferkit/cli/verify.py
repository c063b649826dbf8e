"""The command that makes a result again. torch is imported inside it only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferkit.cli.options import RUN_WORDS, Json, named_run
from transferkit.cli.terminal import command_line, print_json, working
from transferkit.recipe.references import is_reference

if TYPE_CHECKING:
    from transferkit.runtime.console import Console
    from transferkit.studies.verify.verification import Verification


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(verify)


def verify(
    subject: Annotated[
        str,
        typer.Argument(metavar="RUN|RECIPE", help=f"A run's folder, or a recipe that states its accuracy. {RUN_WORDS}"),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Keep the repetition in this folder. (default: it is removed)")
    ] = None,
    json: Json = False,
) -> None:
    """Make a result again, and say whether it is reproduced: exit code 0 if it is, 1 if it is not."""
    stopped = "Stopped. The run is as it was; the same command starts again."
    with working(stopped) as console, place_for(out) as folder:
        result = verified(subject, folder, console)
    console.result(*result.lines())
    if json:
        print_json(result)
    raise typer.Exit(0 if result.is_reproduced else 1)


@contextmanager
def place_for(out: Path | None) -> Iterator[Path]:
    """The folder of the repetition; without `out` one that is removed."""
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="transferkit-verify-") as folder:
        yield Path(folder) / "run"


def verified(subject: str, folder: Path, console: Console) -> Verification:
    """The verdict on a run or on a recipe, whichever it is."""
    from transferkit import recipe as recipes
    from transferkit.recipe import book
    from transferkit.runs.run_directory import open_run
    from transferkit.runtime.errors import TransferkitError
    from transferkit.studies.verify.verification import verify_recipe, verify_run

    if is_reference(subject) or Path(subject).is_dir():
        return verify_run(open_run(named_run(subject)), folder, console, command_line())
    recipe = recipes.load(book.find(subject))
    if not isinstance(recipe, recipes.Recipe):
        raise TransferkitError(f"{subject} is a study of several runs. Verify the recipe of one run, or a run.")
    return verify_recipe(recipe, subject, folder, console, command_line())
