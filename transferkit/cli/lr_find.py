"""The command that looks for a learning rate. torch is imported inside it only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from transferkit.cli.options import Backbone, Data, Json, Overrides, OverwriteFile, method_options
from transferkit.cli.terminal import command_line, print_json, working
from transferkit.recipe import METHOD_MODELS, from_options
from transferkit.runtime.files import claim

Page = Annotated[Path, typer.Option(help="The page with the plot.")]


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command("lr-find")(lr_find)


@method_options(METHOD_MODELS["finetune"])
def lr_find(
    backbone: Backbone,
    overrides: Overrides = None,
    data: Data = "cifar10",
    out: Page = Path("lr-find.html"),
    overwrite: OverwriteFile = False,
    json: Json = False,
    **options: Any,
) -> None:
    """Find a learning rate for fine-tuning: train a little at rising rates, and keep no weights."""
    recipe = from_options("finetune", backbone, data, options, overrides or (), "transferkit lr-find")
    with claim(out, overwrite), working() as console:
        from transferkit.runtime.files import write_text
        from transferkit.studies.lr_find.page import rate_page
        from transferkit.studies.lr_find.rate_range import find_rate

        rate_range = find_rate(recipe, console)
        write_text(out, rate_page(rate_range, command_line()))
    console.result(*rate_range.lines, f"Plot: {out}")
    if json:
        print_json(rate_range)
