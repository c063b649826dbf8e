"""The command that builds the pages of a finished result again. torch is imported inside the command only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli import completion
from transferkit.cli.options import Open, OverwriteFile, named_run
from transferkit.cli.terminal import show_page
from transferkit.runtime.console import printable
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import claim


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(report)


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            parser=named_run,
            metavar="FOLDER",
            autocompletion=completion.runs,
            help="Of a run (or @last, @2 ...), a comparison, a label curve, a ranking or a limits report.",
        ),
    ],
    figure: Annotated[
        str | None,
        typer.Option(
            help="Draw one figure instead: confusion, recall, curve, cost ...", autocompletion=completion.figures
        ),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Write one table instead: arms, backbones.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file: .pdf, .svg or .png of a figure; .tex or .csv of a table.")
    ] = None,
    overwrite: OverwriteFile = False,
    open_page: Open = False,
) -> None:
    """Build the pages of a folder again from what is stored in it, or draw a figure for a paper."""
    print(f"Reading {printable(str(folder))} ...", file=sys.stderr, flush=True)
    from transferkit.runtime.console import Console
    from transferkit.studies.pages import draw_figure, page_of, rebuild_pages, require_results, write_paper_table

    if figure is None and table is None:
        Console().result(rebuild_pages(folder))
        if open_page:
            show_page(page_of(folder))
        return
    if figure is not None and table is not None:
        raise TransferkitError("--figure and --table are two files. Type the command once for each.")
    require_results(folder, table)
    target = out or Path(f"{figure}.pdf" if figure is not None else f"{table}.tex")
    with claim(target, overwrite):
        if figure is not None:
            draw_figure(folder, figure, target)
        elif table is not None:
            write_paper_table(folder, table, target)
    print(target)
