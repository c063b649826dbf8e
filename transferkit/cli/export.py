"""The command that writes a model for other programs. torch is imported inside it only."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(export)


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    to: Annotated[
        str,
        typer.Option(
            help="onnx: images to logits, preparation included; weights: a state dict for torchvision's or timm's own "
            "class; mask-rcnn: torchvision's Mask R-CNN with this backbone, its heads random."
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(help="The file. (default: RUN/export/model.onnx, weights.safetensors ...)", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Write a trained model for other programs, checked against the model itself."""
    from transferkit.exports import written
    from transferkit.screen import Screen

    path, usage = written(run, to, out, overwrite=overwrite)
    if json:
        print(
            json_format.dumps({"file": str(path), "format": to, "bytes": path.stat().st_size, "usage": usage}, indent=1)
        )
    screen = Screen()
    screen.line(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB), checked against the model. To use it:")
    for line in usage.splitlines():
        screen.line(f"  {line}")
