"""The commands that list runs and make one site of them. What is slow is imported inside commands only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferkit.cli.options import Json, Overwrite, named_run
from transferkit.cli.terminal import print_json, show_page
from transferkit.runtime.plurals import counted

if TYPE_CHECKING:
    from rich.table import Table

    from transferkit.runs.listing import ListedRun, RunList

Home = Annotated[Path, typer.Option(help="The folder below which runs are looked for.")]
InsideResults = Annotated[
    bool, typer.Option("--all", help="List the runs of studies and cross-validations, too; they have no number.")
]
HEADINGS = ("", "accuracy", "interval", "data", "backbone", "age", "folder")

runs_app = typer.Typer(help="List runs, the latest first; `bundle` makes one site of them.")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(runs_app, name="runs")


@runs_app.callback(invoke_without_command=True)
def list_runs(
    context: typer.Context,
    home: Home = Path("runs"),
    inside_results: InsideResults = False,
    open_run: Annotated[
        Path | None,
        typer.Option("--open", parser=named_run, metavar="RUN", help="Show this run's page in the browser: @last ..."),
    ] = None,
    json: Json = False,
) -> None:
    """List runs, the latest first; `bundle` makes one site of them."""
    if context.invoked_subcommand is not None:
        return
    if open_run is not None:
        from transferkit.runs.run_directory import open_run as opened

        show_page(opened(open_run).path / "report.html")
        return
    from transferkit.runs import listing

    listed = listing.list_runs(home, inside_results=inside_results)
    if json:
        print_json(listed)
    else:
        print_runs(listed)


@runs_app.command()
def bundle(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the site.")],
    runs: Annotated[
        list[Path] | None,
        typer.Argument(parser=named_run, metavar="[RUN]...", help="Which runs. (default: all that are listed)"),
    ] = None,
    home: Home = Path("runs"),
    inside_results: InsideResults = False,
    overwrite: Overwrite = False,
    open_page: Annotated[bool, typer.Option("--open", help="Show the index in the browser.")] = False,
) -> None:
    """Make one static site of many runs: an index and each run's page, to look at from a disk or to serve."""
    from transferkit.report.site import write_site
    from transferkit.runs import listing
    from transferkit.runs.run_directory import open_run
    from transferkit.runtime.console import Console

    if runs:
        chosen = tuple(listing.listed_run(open_run(run).path) for run in runs)
    else:
        chosen = listing.list_runs(home, inside_results=inside_results).runs
    site = write_site(folder, chosen, overwrite=overwrite)
    Console().result(f"{counted(len(site.runs), 'run')}: {folder / 'index.html'}")
    if open_page:
        show_page(folder / "index.html")


def print_runs(listed: RunList) -> None:
    """The list on stdout: a table on a terminal, else columns with tabs between them; what is unfinished on stderr."""
    from transferkit.runtime.console import Console, printable

    rows = [row_of(run) for run in listed.runs]
    if sys.stdout.isatty():
        Console(stream=sys.stdout).show(table_of(rows))
    else:
        for row in (HEADINGS, *rows):
            print("\t".join(printable(cell.replace("\t", " ").replace("\n", " ")) for cell in row))
    console = Console()
    if not rows:
        console.line(f"There is no finished run below {listed.home}/.")
    for run in listed.runs:
        if run.problem:
            console.line(f"{run.path}: {run.problem}")
    for folder in listed.unfinished:
        console.line(f"Unfinished: {folder}. Go on with the same command and --resume.")


def row_of(run: ListedRun) -> tuple[str, ...]:
    """The cells of one run."""
    from transferkit.report.number_words import age, percent, percent_interval

    number = "" if run.number is None else f"@{run.number}"
    labels = f", {run.labels_per_class} per class" if run.labels_per_class else ""
    data, backbone = f"{run.data}{labels}", f"{run.backbone}, {run.method}"
    numbers = (percent(run.accuracy), percent_interval(run.interval) or "–")
    return number, *numbers, *((data, backbone) if run.data else ("–", "–")), age(run.age_seconds), run.path


def table_of(rows: list[tuple[str, ...]]) -> Table:
    """The rows in columns; the folder, which one copies, is never cut."""
    from rich.table import Table
    from rich.text import Text

    from transferkit.runtime.console import printable

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in HEADINGS:
        is_number = heading in ("accuracy", "interval")
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
