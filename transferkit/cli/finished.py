"""The commands that use a finished run: its report, and predictions. torch is imported inside commands only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.options import Device, FinishedRun, Json, OverwriteFile
from transferkit.cli.terminal import print_json
from transferkit.runtime.errors import TransferkitError


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(report)
    app.command()(predict)


def report(
    folder: Annotated[
        Path, typer.Argument(help="The folder of a run, a comparison, a label curve, a ranking or a limits report.")
    ],
    figure: Annotated[str | None, typer.Option(help="Draw one figure instead: confusion, recall, curve ...")] = None,
    out: Annotated[Path | None, typer.Option(help="The figure's file: .pdf, .svg or .png.")] = None,
    overwrite: OverwriteFile = False,
) -> None:
    """Build the pages of a folder again from what is stored in it, or draw a figure for a paper."""
    from transferkit.runtime.console import Console
    from transferkit.studies.pages import draw_figure, rebuild_pages

    if figure is None:
        Console().show(rebuild_pages(folder))
        return
    target = out or Path(f"{figure}.pdf")
    if target.exists() and not overwrite:
        raise TransferkitError(f"{target} exists. Choose another file with --out, or replace it with --overwrite.")
    draw_figure(folder, figure, target)
    print(target)


def predict(
    run: FinishedRun,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    acceptance: Annotated[
        float, typer.Option(help="Share of familiar images that are not to be called unknown.", min=0.5, max=1.0)
    ] = 0.95,
    json: Json = False,
    device: Device = "auto",
) -> None:
    """Name what is in your pictures, or say `unknown`, with the model of a run."""
    from transferkit.deploy.prediction import in_words, load, no_threshold

    model = load(run, device)
    predictions = model.predict(images, acceptance=acceptance)
    if words := no_threshold(model):
        print(words, file=sys.stderr)
    if json:
        print_json(
            [{"image": str(path), **vars(prediction)} for path, prediction in zip(images, predictions, strict=True)]
        )
        return
    for path, prediction in zip(images, predictions, strict=True):
        print(f"{path}\t{in_words(prediction)}")
