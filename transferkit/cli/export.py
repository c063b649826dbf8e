"""The command that writes a model for other programs. torch is imported inside it only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferkit.cli.options import FinishedRun, Json
from transferkit.cli.terminal import print_json, working
from transferkit.deploy.formats import in_words


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(export)


def export(
    run: FinishedRun,
    to: Annotated[
        str,
        typer.Option(help=in_words()),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            help="A file, as model.onnx; or a folder for the model with all that it needs. (default: RUN/export/onnx, "
            "RUN/export/weights.safetensors ...)",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, or the earlier export in the folder.")
    ] = False,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Keep 8 bits where they may cost more than one point of accuracy.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a trained model for other programs, checked against the model itself."""
    with working() as console:
        from transferkit.deploy.export import write_export

        path, usage = write_export(run, to, out, overwrite=overwrite, allow_loss=allow_loss, console=console)
    if json:
        print_json({"file": str(path), "format": to, "bytes": path.stat().st_size, "usage": usage})
    console.result(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB), checked against the model. To use it:")
    for line in usage.splitlines():
        console.result(f"  {line}")
