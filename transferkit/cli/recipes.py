"""The commands about shipped recipes and recipe files."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

import typer

from transferkit import recipe as recipes
from transferkit.cli.terminal import print_json
from transferkit.recipe import book

recipe_app = typer.Typer(help="List, show, copy and check recipes.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(recipe_app, name="recipes")


@recipe_app.command("list")
def list_recipes() -> None:
    """List the shipped recipes."""
    width = shutil.get_terminal_size().columns
    for name in book.names():
        about = f"{name:18} {book.about(book.find(name))}"
        print(textwrap.fill(about, width, subsequent_indent=" " * 19))


@recipe_app.command("show")
def show_recipe(name: str) -> None:
    """Print a recipe."""
    print(book.text_of(name), end="")


@recipe_app.command("copy")
def copy_recipe(name: str, file: Path) -> None:
    """Copy a recipe to a file of your own."""
    print(f"Wrote {book.copy(name, file)}. Run it with: transferkit run {file}", file=sys.stderr)


@recipe_app.command("validate")
def validate_recipe(files: list[str]) -> None:
    """Check recipes without running them."""
    for name in files:
        recipes.load(book.find(name))
        print(f"{name}: valid")


@recipe_app.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of recipe files, for editors."""
    print_json(recipes.schema())
