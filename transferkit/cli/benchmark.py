"""The command that measures a run in every form. torch is imported inside it only."""

from __future__ import annotations

from typing import Annotated

import typer

from transferkit.cli.options import FinishedRun, Json, Threads
from transferkit.cli.terminal import print_json, working
from transferkit.deploy.formats import measured_forms


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(benchmark)


def benchmark(
    run: FinishedRun,
    formats: Annotated[
        str, typer.Option(help=f"Some of {','.join(measured_forms())}. (default: all)", show_default=False)
    ] = "",
    images: Annotated[
        int, typer.Option(min=1, max=1_000_000_000, help="On how many accuracy is measured, at most.")
    ] = 1000,
    on: Annotated[str, typer.Option(help="val, or test, which is opened for it.")] = "val",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure a run in every format and precision: accuracy, speed on this CPU and size, in one table."""
    names = [name.strip() for name in formats.split(",") if name.strip()]
    with working() as console:
        from transferkit.deploy.benchmark import measure_forms
        from transferkit.runs.run_directory import open_run

        result = measure_forms(open_run(run), names, images=images, on=on, threads=threads, console=console)
    if json:
        print_json(result)
        return
    print(result)
