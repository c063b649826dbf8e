"""The commands that list: backbones, the layers of one, and data sets. torch is imported inside commands only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.cli import completion
from transferkit.cli.options import RUN_WORDS, Json, OverwriteFile
from transferkit.cli.terminal import print_json, print_starting, print_table, working
from transferkit.recipe.settings import LARGEST_PX
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import claim

if TYPE_CHECKING:
    from rich.table import Table

BACKBONE_COLUMNS = ("name", "family", "parameters", "top1", "source")
DATASET_COLUMNS = ("name", "classes", "images", "size", "offline", "terms")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(backbones)
    app.command()(layers)
    app.command()(datasets)


def backbones(
    pattern: Annotated[str, typer.Argument(help="Part of a name; `timm/resnet` searches timm.")] = "",
    json: Json = False,
) -> None:
    """List the backbones, and the weights that installed packages offer."""
    if pattern.startswith("timm/") and not json:
        print_starting("Asking timm")
    from transferkit.models import backbones as menu

    cards = menu.names(pattern)
    if not cards:
        raise TransferkitError(f"No backbone matches {pattern!r}. `transferkit backbones` lists all of them.")
    print_cards(cards, BACKBONE_COLUMNS, json)
    if not json:
        print_packaged_weights()


def print_packaged_weights() -> None:
    """What installed packages offer, below the list."""
    from transferkit.models import weights
    from transferkit.runtime.console import Console

    console, packages = Console(stream=sys.stdout), weights.installed()
    console.line("\nWeights in installed packages:" if packages.offers else f"\n{weights.PACKAGE_ADVICE}")
    console.result(*(f"  {offer.summary}" for offer in packages.offers), *packages.problems)


def layers(
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="NETWORK... [KEY=VALUE...]",
            help=f"Backbones, or runs' folders; and keys, as in backbone.kernel=5. {RUN_WORDS}",
            autocompletion=completion.backbones,
        ),
    ],
    compare: Annotated[bool, typer.Option("--compare", help="The totals of all networks side by side.")] = False,
    size: Annotated[
        int | None,
        typer.Option(
            help="Input side in px. (default: a run's own, or what suits the backbone)",
            min=8,
            max=LARGEST_PX,
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The table as .csv or .tex.", show_default=False)] = None,
    overwrite: OverwriteFile = False,
    json: Json = False,
) -> None:
    """List a network's layers: output shape, receptive field, stride, parameters, FLOPs; or compare several."""
    keys = [text for text in networks if "=" in text]
    names = [text for text in networks if "=" not in text]
    if not names:
        raise TransferkitError(f"No network is named beside {' '.join(keys)}. Name a backbone or a run first.")
    with claim(out, overwrite), working() as console:
        from transferkit.runtime.console import printable
        from transferkit.studies.lab.layer_tree import compared, trees

        listed = (compared if compare else trees)(names, keys, size, console)
        if out:
            listed.write(out)
    if json:
        print_json(listed.values)
        return
    for title, table in zip(listed.titles, listed.tables, strict=True):
        if len(listed.tables) > 1:
            print(f"\n{printable(title)}")
        print_table(table.header, table.rows)
    console.result(listed.note)


def datasets(json: Json = False) -> None:
    """List the data sets."""
    from transferkit.data import datasets as menu

    print_cards(menu.cards(), DATASET_COLUMNS, json)


def print_cards(cards: Sequence[Any], columns: Sequence[str], as_json: bool) -> None:
    """Cards on stdout: a table of these columns, or everything as JSON."""
    from transferkit.runtime.console import Console

    if as_json:
        print_json([vars(card) for card in cards])
    else:
        Console(stream=sys.stdout).show(listing(cards, columns))


def listing(cards: Sequence[Any], columns: Sequence[str]) -> Table:
    """One row per card, one column per attribute; numbers stand right."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        numbers = all(isinstance(getattr(card, column), int | float | None) for card in cards)
        table.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for card in cards:
        table.add_row(*(cell(getattr(card, column)) for column in columns))
    return table


def cell(value: Any) -> str:
    """A value as a reader writes it; fractions are accuracies.

    Example:
        >>> cell(11689512), cell(0.6976), cell(None), cell(True), cell((64, 55, 55))
        ('11,689,512', '69.8 %', '-', 'yes', '64x55x55')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, float):
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else str(value)
